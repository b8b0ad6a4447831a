"""Usage as the sidecar knows it: used = total + own later usage.

The control plane pushes totals per window and says up to which of this sidecar's records they
include. What this sidecar recorded later is kept here, record by record, until a push includes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weighbridge.rules.catalog import Entitlement, Limit
from weighbridge.rules.decision import LimitState
from weighbridge.rules.window import Window, WindowBounds, window_bounds

NEVER_MS = 2**63


class Position(NamedTuple):
    """A journal record: the index of its epoch among those this sidecar keeps, and its number."""

    epoch_index: int
    number: int


Included = Mapping[int, int]
"""The last record of each epoch (by index) that a push includes."""


class PushedTotal(NamedTuple):
    """A total as the control plane pushed it."""

    window_key: str
    window_start_ms: int
    total: int


class OwnUsage:
    """Units of one record, or of several calls of one instant in it.

    Calls are counted since acquired and released units may come to 0 between them.
    """

    __slots__ = ("amount", "at_ms", "calls", "position")

    def __init__(self, position: Position, at_ms: int, amount: int) -> None:
        self.position = position
        self.at_ms = at_ms
        self.amount = amount
        self.calls = 1


class Counter:
    """What is used of one window."""

    __slots__ = ("anchor_ms", "bounds", "end_ms", "own", "total", "window")

    def __init__(self, window: Window, anchor_ms: int, bounds: WindowBounds) -> None:
        self.window = window
        self.anchor_ms = anchor_ms
        self.total = 0
        self.own = 0
        self.move(bounds)

    def move(self, bounds: WindowBounds) -> None:
        self.bounds = bounds
        self.end_ms = NEVER_MS if bounds.end_ms is None else bounds.end_ms

    @property
    def used(self) -> int:
        """Units used in the window."""
        return self.total + self.own


class FeatureUsage:
    """Usage of one feature by one customer or resource, in every window that limits count in."""

    __slots__ = ("_anchor_ms", "_counters", "_entitlement", "_meters", "_own", "_pushed")

    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._own: list[OwnUsage] = []
        self._pushed: dict[str, PushedTotal] = {}
        # What `_meters` was built from; compared by identity, since entitlements are shared.
        self._entitlement: Entitlement | None = None
        self._anchor_ms = 0
        self._meters: list[tuple[Limit, Counter]] = []

    @property
    def has_own(self) -> bool:
        """Whether usage is kept here that no push included so far."""
        return bool(self._own)

    @property
    def own_usage(self) -> tuple[OwnUsage, ...]:
        """What of this sidecar's own no push included so far."""
        return tuple(self._own)

    @property
    def pushed(self) -> tuple[PushedTotal, ...]:
        """What is known to be settled: the totals as pushed, and own usage that a push took in."""
        known = dict(self._pushed)
        for key, counter in self._counters.items():
            if counter.total:
                known[key] = PushedTotal(key, counter.bounds.start_ms, counter.total)
        return tuple(known.values())

    def states(
        self, entitlement: Entitlement, anchor_ms: int, now_ms: int
    ) -> tuple[list[LimitState], bool]:
        """Return the state of every limit now, and whether a window is new here.

        A window that is new has only this sidecar's usage until its total is pushed.
        """
        has_new = False
        if entitlement is not self._entitlement or anchor_ms != self._anchor_ms:
            has_new = self._bind(entitlement, anchor_ms, now_ms)
        states = []
        for limit, counter in self._meters:
            if now_ms >= counter.end_ms:
                self._move(counter, now_ms)
            states.append(LimitState(limit, counter.bounds, counter.total + counter.own))
        return states, has_new

    def record(self, position: Position, at_ms: int, amount: int) -> None:
        """Add units of this sidecar's own."""
        own = self._own
        last = own[-1] if own else None
        if last is not None and last.at_ms == at_ms and last.position == position:
            last.amount += amount
            last.calls += 1
        else:
            own.append(OwnUsage(position, at_ms, amount))
        for counter in self._counters.values():
            if counter.bounds.start_ms <= at_ms < counter.end_ms:
                counter.own += amount

    def take_back(self, at_ms: int, amount: int) -> None:
        """Undo the newest `record` of that instant: its record could not be written."""
        last = self._own[-1]
        last.amount -= amount
        last.calls -= 1
        if last.calls == 0:
            self._own.pop()
        for counter in self._counters.values():
            if counter.bounds.start_ms <= at_ms < counter.end_ms:
                counter.own -= amount

    def push(self, totals: Iterable[PushedTotal], included: Included, *, is_whole: bool) -> None:
        """Take in totals that include this sidecar's records up to `included`.

        Where they are the whole of it, windows that are not named have a total of 0. Else what a
        push no longer counts as own stays counted in the totals it does not name.
        """
        for settled in self._take_included(included):
            for counter in self._counters.values():
                if counter.bounds.start_ms <= settled.at_ms < counter.end_ms:
                    counter.own -= settled.amount
                    counter.total += settled.amount
        if is_whole:
            self._pushed.clear()
            for counter in self._counters.values():
                counter.total = 0
        for pushed in totals:
            self._pushed[pushed.window_key] = pushed
            counter_of_key = self._counters.get(pushed.window_key)
            if counter_of_key is not None:
                self._apply(counter_of_key, pushed)

    def _apply(self, counter: Counter, pushed: PushedTotal) -> None:
        if pushed.window_start_ms > counter.bounds.start_ms:
            # The control plane's clock has passed the turn, so the window has turned.
            self._move(counter, pushed.window_start_ms)
        elif pushed.window_start_ms == counter.bounds.start_ms:
            counter.total = pushed.total

    def _bind(self, entitlement: Entitlement, anchor_ms: int, now_ms: int) -> bool:
        has_new = False
        meters: list[tuple[Limit, Counter]] = []
        kept: dict[str, Counter] = {}
        for limit in entitlement.limits:
            key = limit.window.key
            counter = kept.get(key) or self._counters.get(key)
            if counter is None or counter.anchor_ms != anchor_ms:
                has_new = has_new or (counter is None and key not in self._pushed)
                bounds = window_bounds(limit.window, now_ms, anchor_ms)
                counter = Counter(limit.window, anchor_ms, bounds)
                self._fill(counter)
            kept[key] = counter
            meters.append((limit, counter))
        self._counters = kept
        self._meters = meters
        self._entitlement = entitlement
        self._anchor_ms = anchor_ms
        return has_new

    def _move(self, counter: Counter, at_ms: int) -> None:
        counter.move(window_bounds(counter.window, at_ms, counter.anchor_ms))
        self._fill(counter)

    def _fill(self, counter: Counter) -> None:
        start_ms, end_ms = counter.bounds.start_ms, counter.end_ms
        pushed = self._pushed.get(counter.window.key)
        is_this = pushed is not None and pushed.window_start_ms == start_ms
        counter.total = pushed.total if pushed is not None and is_this else 0
        counter.own = sum(own.amount for own in self._own if start_ms <= own.at_ms < end_ms)

    def _take_included(self, included: Included) -> list[OwnUsage]:
        own = self._own
        count = 0
        for usage in own:
            if usage.position.number > included.get(usage.position.epoch_index, 0):
                break
            count += 1
        taken = own[:count]
        del own[:count]
        return taken
