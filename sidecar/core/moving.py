"""Counters of windows that lie where usage is: rolling windows and sessions.

Both keep the control plane's totals and this sidecar's own later usage apart, by parts that are
named by their start: buckets of a rolling window, or sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weighbridge.rules.catalog import Limit
from weighbridge.rules.decision import LimitState
from weighbridge.rules.moving import (
    BUCKETS,
    SESSIONS_MAX,
    Sessions,
    bucket_start_ms,
    buckets_bounds,
    oldest_bucket_ms,
)
from weighbridge.rules.window import Window, WindowBounds, WindowKind

NEVER_MS = 2**63


class RollingCounter:
    """What is used of a rolling window, by bucket."""

    __slots__ = ("_bounds", "_buckets", "_length_ms", "_oldest_ms", "_own", "_turns_at_ms", "_used")

    is_stale = False

    def __init__(self, length_ms: int, now_ms: int) -> None:
        self._length_ms = length_ms
        # All units by bucket, of those that count and have some; and what of it is own.
        self._buckets: dict[int, int] = {}
        self._own: dict[int, int] = {}
        self._used = 0
        self._bounds: WindowBounds | None = None
        self._turn(now_ms)

    @property
    def settled(self) -> Mapping[int, int]:
        """What is settled, by bucket."""
        own = self._own
        parts = {start: units - own.get(start, 0) for start, units in self._buckets.items()}
        return {start: units for start, units in parts.items() if units}

    def state(self, limit: Limit, now_ms: int) -> LimitState:
        """Return the state of a limit in this window."""
        if now_ms >= self._turns_at_ms:
            self._turn(now_ms)
        return LimitState(limit, self._bounds, self._used, self._buckets)

    def record(self, at_ms: int, amount: int) -> None:
        """Add own units."""
        start_ms = bucket_start_ms(self._length_ms, at_ms)
        if start_ms < self._oldest_ms:
            return
        self._own[start_ms] = self._own.get(start_ms, 0) + amount
        self._buckets[start_ms] = self._buckets.get(start_ms, 0) + amount
        self._used += amount
        if self._bounds is None or start_ms < self._bounds.start_ms:
            self._bounds = buckets_bounds(self._length_ms, self._buckets)

    def take_back(self, at_ms: int, amount: int) -> None:
        """Undo the newest `record`."""
        self.record(at_ms, -amount)
        self._hold(self._buckets)

    def settle(self, at_ms: int, amount: int) -> None:
        """Take own units as settled."""
        start_ms = bucket_start_ms(self._length_ms, at_ms)
        if start_ms in self._own:
            self._own[start_ms] -= amount

    def replace(self, totals: Iterable[tuple[int, int]]) -> None:
        """Take these totals for all that is settled."""
        buckets = dict(self._own)
        for start_ms, units in totals:
            buckets[start_ms] = buckets.get(start_ms, 0) + units
        self._hold(buckets)

    def refill(self, own: Iterable[tuple[int, int]], now_ms: int) -> None:
        """Take these units, each with its instant, for all that is own."""
        settled = self.settled
        self._turn(now_ms)
        self._own = {}
        self._hold(settled)
        for at_ms, amount in own:
            self.record(at_ms, amount)

    def _turn(self, now_ms: int) -> None:
        self._oldest_ms = oldest_bucket_ms(self._length_ms, now_ms)
        self._turns_at_ms = self._oldest_ms + self._length_ms + self._length_ms // BUCKETS
        self._own = {start: units for start, units in self._own.items() if start >= self._oldest_ms}
        self._hold(self._buckets)

    def _hold(self, buckets: Mapping[int, int]) -> None:
        oldest_ms = self._oldest_ms
        self._buckets = {s: units for s, units in buckets.items() if s >= oldest_ms and units}
        self._used = sum(self._buckets.values())
        self._bounds = buckets_bounds(self._length_ms, self._buckets)


class SessionCounter:
    """What is used of sessions. `is_stale`: it has to be refilled before it is asked."""

    __slots__ = (
        "_bounds",
        "_end_ms",
        "_length_ms",
        "_now_ms",
        "_own",
        "_sessions",
        "_settled",
        "_used",
        "is_stale",
    )

    def __init__(self, length_ms: int, now_ms: int) -> None:
        self._length_ms = length_ms
        self._now_ms = now_ms
        # Units by session.
        self._settled: dict[int, int] = {}
        self._own: dict[int, int] = {}
        self._sessions = Sessions(length_ms)
        self.is_stale = False
        self._look()

    @property
    def settled(self) -> Mapping[int, int]:
        """What is settled, by session."""
        return self._settled

    def state(self, limit: Limit, now_ms: int) -> LimitState:
        """Return the state of a limit in this window."""
        self._now_ms = max(self._now_ms, now_ms)
        if now_ms >= self._end_ms:
            self._look()
        return LimitState(limit, self._bounds, self._used)

    def record(self, at_ms: int, amount: int) -> None:
        """Add own units."""
        bounds = self._bounds
        if bounds is not None and bounds.start_ms <= at_ms < self._end_ms:
            self._own[bounds.start_ms] = self._own.get(bounds.start_ms, 0) + amount
            self._used += amount
            return
        start_ms, moved_ms = self._sessions.place(at_ms, max(self._now_ms, at_ms))
        if moved_ms is not None:
            for units in (self._settled, self._own):
                if moved_ms in units:
                    units[start_ms] = units.pop(moved_ms)
        self._own[start_ms] = self._own.get(start_ms, 0) + amount
        if len(self._sessions.starts) > 2 * SESSIONS_MAX:
            self._forget_old()
        self._look()

    def take_back(self, _at_ms: int, _amount: int) -> None:
        """Undo the newest `record`: what it opened is found by refilling."""
        self.is_stale = True

    def settle(self, at_ms: int, amount: int) -> None:
        """Take own units as settled."""
        start_ms = self._sessions.find(at_ms)
        if start_ms is not None:
            self._own[start_ms] = self._own.get(start_ms, 0) - amount
            self._settled[start_ms] = self._settled.get(start_ms, 0) + amount

    def replace(self, totals: Iterable[tuple[int, int]]) -> None:
        """Take these totals for all that is settled, and sessions to lie where they say."""
        known = set(self._sessions.starts)
        self._settled = {start_ms: units for start_ms, units in totals if units}
        if known.issuperset(self._settled):
            self._own = {start_ms: units for start_ms, units in self._own.items() if units}
            self._sessions = Sessions(self._length_ms, {*self._settled, *self._own})
            self._look()
        else:
            self.is_stale = True

    def refill(self, own: Iterable[tuple[int, int]], now_ms: int) -> None:
        """Take these units, each with its instant, for all that is own."""
        self._now_ms = max(self._now_ms, now_ms)
        self.is_stale = False
        self._own = {}
        self._sessions = Sessions(self._length_ms, self._settled)
        self._look()
        # In order of time, so that what once was the first use is it again.
        for at_ms, amount in sorted(own):
            self.record(at_ms, amount)

    def _forget_old(self) -> None:
        """Keep the newest sessions, and those with own usage that is not settled."""
        newest = set(self._sessions.starts[-SESSIONS_MAX:])
        self._own = {s: units for s, units in self._own.items() if units or s in newest}
        kept = newest.union(self._own)
        self._settled = {s: units for s, units in self._settled.items() if s in kept}
        self._sessions = Sessions(self._length_ms, kept)

    def _look(self) -> None:
        bounds = self._bounds = self._sessions.open_at(self._now_ms)
        self._end_ms, self._used = NEVER_MS, 0
        if bounds is not None and bounds.end_ms is not None:
            self._end_ms = bounds.end_ms
            settled = self._settled.get(bounds.start_ms, 0)
            self._used = settled + self._own.get(bounds.start_ms, 0)


MovingCounter = RollingCounter | SessionCounter


def moving_counter(window: Window, now_ms: int) -> MovingCounter:
    """Return a counter of a rolling window or session, with nothing counted."""
    assert window.length_ms is not None, "a moving window"
    if window.kind is WindowKind.SESSION:
        return SessionCounter(window.length_ms, now_ms)
    return RollingCounter(window.length_ms, now_ms)
