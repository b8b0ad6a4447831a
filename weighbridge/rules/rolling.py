"""What a pool of a rolling window has spent, by bucket, and when it comes back.

Rules:

- Units come back one whole length after the end of the bucket in which they were spent: never
  early, at most one bucket late (`rules/moving.py` has the buckets).
- What has come back stays back: a clock that is set back takes nothing out again. Until it has
  caught up, what is spent counts in the oldest bucket that is left.
- What is counted of the window is spent of the pool: of usage from any bucket on, the pool has
  never less. It may have more, and later: what a hold drew counts from when it was settled.
"""

from __future__ import annotations

from collections.abc import Mapping

from weighbridge.rules.moving import (
    bucket_leaves_ms,
    bucket_start_ms,
    oldest_bucket_ms,
    units_left_ms,
)


class RollingUnits:
    """Units of one rolling window by the start of their bucket. `rolled_ms`: older ones left."""

    __slots__ = ("length_ms", "rolled_ms", "units")

    def __init__(self, length_ms: int, units: Mapping[int, int], rolled_ms: int) -> None:
        self.length_ms = length_ms
        self.rolled_ms = rolled_ms
        self.units = dict(units)

    @property
    def total(self) -> int:
        """All that is in the window."""
        return sum(self.units.values())

    @property
    def leaves_ms(self) -> int | None:
        """When the first of it comes back; None: nothing is spent."""
        return bucket_leaves_ms(self.length_ms, min(self.units)) if self.units else None

    def left_ms(self, units: int) -> int | None:
        """Return when so many units will have come back; None: fewer are spent."""
        return units_left_ms(self.length_ms, self.units, units)

    def roll(self, now_ms: int) -> None:
        """Let go of what has left the window by now."""
        oldest_ms = oldest_bucket_ms(self.length_ms, now_ms)
        if oldest_ms > self.rolled_ms:
            self.rolled_ms = oldest_ms
            self.units = {start: n for start, n in self.units.items() if start >= oldest_ms}

    def spend(self, at_ms: int, units: int, now_ms: int) -> None:
        """Count units spent at an instant, where that still matters now."""
        if units <= 0 or at_ms < oldest_bucket_ms(self.length_ms, now_ms):
            return
        start_ms = max(bucket_start_ms(self.length_ms, at_ms), self.rolled_ms)
        self.units[start_ms] = self.units.get(start_ms, 0) + units

    def cover(self, counted: Mapping[int, int]) -> None:
        """Add what is counted of the window and is not spent here.

        So it is when the pool is new, or was none for a while.
        """
        missing = 0
        for start_ms in sorted(counted.keys() | self.units.keys(), reverse=True):
            if start_ms < self.rolled_ms:
                break
            units = self.units.get(start_ms, 0)
            missing += counted.get(start_ms, 0) - units
            if missing > 0:
                self.units[start_ms] = units + missing
                missing = 0
