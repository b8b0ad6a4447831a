"""Usage as the sidecar knows it: used = total + own later usage.

The control plane pushes totals per window and says up to which of this sidecar's records they
include. What this sidecar recorded later is kept here, record by record, until a push includes it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sidecar.core.moving import NEVER_MS, MovingCounter, moving_counter
from weighbridge.rules.catalog import Entitlement, Limit
from weighbridge.rules.decision import LimitState
from weighbridge.rules.window import Window, WindowBounds, window_bounds


class Position(NamedTuple):
    """A journal record: the index of its epoch among those this sidecar keeps, and its number."""

    epoch_index: int
    number: int


Included = Mapping[int, int]
"""The last record of each epoch (by index) that a push includes."""


class PushedTotal(NamedTuple):
    """A total as the control plane pushed it: of a window, or of a part of a moving one."""

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

    __slots__ = (
        "_anchor_ms",
        "_counters",
        "_entitlement",
        "_meters",
        "_mixed",
        "_moving",
        "_own",
        "_pushed",
    )

    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._moving: dict[str, MovingCounter] = {}
        self._own: list[OwnUsage] = []
        # By window; a moving window has one of each part.
        self._pushed: Mapping[str, Sequence[PushedTotal]] = {}
        # What `_meters` was built from; compared by identity, since entitlements are shared.
        self._entitlement: Entitlement | None = None
        self._anchor_ms = 0
        self._meters: list[tuple[Limit, Counter]] = []
        # All of them where some move, else none: most features have none that do.
        self._mixed: list[tuple[Limit, Counter | MovingCounter]] = []

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
                known[key] = (PushedTotal(key, counter.bounds.start_ms, counter.total),)
        for key, moving in self._moving.items():
            known[key] = tuple(PushedTotal(key, *part) for part in moving.settled.items())
        return tuple(total for totals in known.values() for total in totals)

    def states(
        self, entitlement: Entitlement, anchor_ms: int, now_ms: int
    ) -> tuple[list[LimitState], bool]:
        """Return the state of every limit now, and whether a window is new here.

        A window that is new has only this sidecar's usage until its total is pushed.
        """
        has_new = False
        if entitlement is not self._entitlement or anchor_ms != self._anchor_ms:
            has_new = self._bind(entitlement, anchor_ms, now_ms)
        if self._mixed:
            return self._mixed_states(now_ms), has_new
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
        if self._moving:
            for moving in self._moving.values():
                moving.record(at_ms, amount)

    def record_late(self, position: Position, at_ms: int, amount: int) -> None:
        """Add units of this sidecar's own that may be older than others that are here."""
        if self._own and position < self._own[-1].position:
            insort(self._own, OwnUsage(position, at_ms, amount), key=_position)
            for counter in self._counters.values():
                if counter.bounds.start_ms <= at_ms < counter.end_ms:
                    counter.own += amount
            for moving in self._moving.values():
                moving.record(at_ms, amount)
        else:
            self.record(position, at_ms, amount)

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
        for moving in self._moving.values():
            moving.take_back(at_ms, amount)

    def push(self, totals: Iterable[PushedTotal], included: Included, *, is_whole: bool) -> None:
        """Take in totals that include this sidecar's records up to `included`.

        Where they are the whole of it, windows that are not named have a total of 0. Else what a
        push no longer counts as own stays counted in the totals it does not name.
        """
        for settled in self._take_included(included):
            self._settle(settled)
        by_key: dict[str, list[PushedTotal]] = {}
        for pushed in totals:
            by_key.setdefault(pushed.window_key, []).append(pushed)
        if by_key or is_whole:
            # All windows that are counted: one that is not named has to be asked for again.
            self._pushed = by_key
        for key, counter in self._counters.items():
            if is_whole:
                counter.total = 0
            for pushed in by_key.get(key, ()):
                self._apply(counter, pushed)
        for key in self._moving if is_whole else self._moving.keys() & by_key.keys():
            self._moving[key].replace(_parts(by_key.get(key, ())))

    def _settle(self, own: OwnUsage) -> None:
        for counter in self._counters.values():
            if counter.bounds.start_ms <= own.at_ms < counter.end_ms:
                counter.own -= own.amount
                counter.total += own.amount
        for moving in self._moving.values():
            moving.settle(own.at_ms, own.amount)

    def _apply(self, counter: Counter, pushed: PushedTotal) -> None:
        if pushed.window_start_ms > counter.bounds.start_ms:
            # The control plane's clock has passed the turn, so the window has turned.
            self._move(counter, pushed.window_start_ms)
        elif pushed.window_start_ms == counter.bounds.start_ms:
            counter.total = pushed.total

    def _bind(self, entitlement: Entitlement, anchor_ms: int, now_ms: int) -> bool:
        has_new = False
        kept: dict[str, Counter] = {}
        moving: dict[str, MovingCounter] = {}
        mixed: list[tuple[Limit, Counter | MovingCounter]] = []
        for limit in entitlement.limits:
            key = limit.window.key
            if limit.window.length_ms is not None:
                held = moving.get(key) or self._moving.get(key)
                has_new = has_new or (held is None and key not in self._pushed)
                moving[key] = held or self._make_moving(limit.window, now_ms)
                mixed.append((limit, moving[key]))
                continue
            counter = kept.get(key) or self._counters.get(key)
            if counter is None or counter.anchor_ms != anchor_ms:
                has_new = has_new or (counter is None and key not in self._pushed)
                bounds = window_bounds(limit.window, now_ms, anchor_ms)
                counter = Counter(limit.window, anchor_ms, bounds)
                self._fill(counter)
            kept[key] = counter
            mixed.append((limit, counter))
        self._counters, self._moving = kept, moving
        self._meters = [(limit, each) for limit, each in mixed if isinstance(each, Counter)]
        self._mixed = mixed if moving else []
        self._entitlement = entitlement
        self._anchor_ms = anchor_ms
        return has_new

    def _make_moving(self, window: Window, now_ms: int) -> MovingCounter:
        moving = moving_counter(window, now_ms)
        moving.replace(_parts(self._pushed.get(window.key, ())))
        moving.refill(self._own_units(), now_ms)
        return moving

    def _own_units(self) -> Iterator[tuple[int, int]]:
        return ((own.at_ms, own.amount) for own in self._own)

    def _mixed_states(self, now_ms: int) -> list[LimitState]:
        states = []
        for limit, counter in self._mixed:
            if isinstance(counter, Counter):
                if now_ms >= counter.end_ms:
                    self._move(counter, now_ms)
                states.append(LimitState(limit, counter.bounds, counter.total + counter.own))
                continue
            if counter.is_stale:
                counter.refill(self._own_units(), now_ms)
            states.append(counter.state(limit, now_ms))
        return states

    def _move(self, counter: Counter, at_ms: int) -> None:
        counter.move(window_bounds(counter.window, at_ms, counter.anchor_ms))
        self._fill(counter)

    def _fill(self, counter: Counter) -> None:
        start_ms, end_ms = counter.bounds.start_ms, counter.end_ms
        pushed = self._pushed.get(counter.window.key, ())
        counter.total = sum(each.total for each in pushed if each.window_start_ms == start_ms)
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


def _parts(totals: Iterable[PushedTotal]) -> Iterator[tuple[int, int]]:
    return ((total.window_start_ms, total.total) for total in totals)


def _position(own: OwnUsage) -> Position:
    return own.position
