"""Windows that lie where usage is: rolling windows and sessions.

A rolling window: at most so many units in any span of one length. Usage is counted in buckets, a
sixtieth of the length each, aligned to 1970-01-01T00:00:00Z. A bucket counts from when it is used
until one whole length after its end, so that usage never stops counting early, and at most one
bucket late.

A session opens at the first use and lasts one length. Where usage of an instant counts:

1. In the session that began last before it (or at it), where that lasts until after it.
2. Else it opens one. Where the next session begins within one length, and now is within it too,
   that session is the same: it began earlier. So usage that two sidecars both took for the first
   ends up in one session, in whatever order it is settled.
3. Where now is past that length, the next session stays as it is, and ends the new one: what was
   told of it is not taken back for usage that comes a whole length late.

Only units open one: an amount of 0 does not. Usage ahead of now opens one now.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from typing import Final

from weighbridge.rules.window import Window, WindowBounds, WindowKind

BUCKETS: Final = 60
SESSIONS_MAX: Final = 16
"""Sessions kept of one counter, the newest: older ones only place usage that comes very late."""


def is_moving(window_key: str) -> bool:
    """Whether a window of that key is a rolling window or a session."""
    return window_key.startswith(("rolling:", "session:"))


def bucket_start_ms(length_ms: int, at_ms: int) -> int:
    """Return the start of the bucket that holds an instant."""
    # Lengths are whole minutes, so a bucket is a whole number of seconds.
    return at_ms - at_ms % (length_ms // BUCKETS)


def oldest_bucket_ms(length_ms: int, now_ms: int) -> int:
    """Return the start of the oldest bucket that counts."""
    return bucket_start_ms(length_ms, now_ms) - length_ms


def bucket_leaves_ms(length_ms: int, start_ms: int) -> int:
    """Return when a bucket stops counting."""
    return start_ms + length_ms // BUCKETS + length_ms


def buckets_bounds(length_ms: int, buckets: Mapping[int, int]) -> WindowBounds | None:
    """Return where the usage that counts begins, and when the first of it stops counting."""
    if not buckets:
        return None
    oldest_ms = min(buckets)
    return WindowBounds(oldest_ms, bucket_leaves_ms(length_ms, oldest_ms))


def units_left_ms(length_ms: int, buckets: Mapping[int, int], units: int) -> int | None:
    """Return when so many of the units that count have stopped counting; None: there are fewer."""
    for start_ms in sorted(buckets):
        units -= buckets[start_ms]
        if units <= 0:
            return bucket_leaves_ms(length_ms, start_ms)
    return None


def bounds_of_use(window: Window, at_ms: int) -> WindowBounds:
    """Return the bounds that the first usage gives a moving window."""
    assert window.length_ms is not None, "a moving window"
    if window.kind is WindowKind.SESSION:
        return WindowBounds(at_ms, at_ms + window.length_ms)
    start_ms = bucket_start_ms(window.length_ms, at_ms)
    return WindowBounds(start_ms, bucket_leaves_ms(window.length_ms, start_ms))


class Sessions:
    """Where the sessions of one counter lie."""

    __slots__ = ("_length_ms", "starts")

    def __init__(self, length_ms: int, starts: Iterable[int] = ()) -> None:
        self._length_ms = length_ms
        self.starts = sorted(starts)

    def find(self, at_ms: int) -> int | None:
        """Return the start of the session that an instant lies in."""
        position = bisect_right(self.starts, at_ms)
        if not position:
            return None
        start_ms = self.starts[position - 1]
        return start_ms if at_ms < start_ms + self._length_ms else None

    def open_at(self, now_ms: int) -> WindowBounds | None:
        """Return the session that is open now."""
        # One that begins ahead of now is open too: another clock has got there.
        if not self.starts or now_ms >= self.starts[-1] + self._length_ms:
            return None
        return WindowBounds(self.starts[-1], self.starts[-1] + self._length_ms)

    def place(self, at_ms: int, now_ms: int) -> tuple[int, int | None]:
        """Return the start of the session that units count in; one is opened where there is none.

        Where a session begins earlier now, its start until now comes second.
        """
        at_ms = min(at_ms, now_ms)
        found_ms = self.find(at_ms)
        if found_ms is not None:
            return found_ms, None
        end_ms = at_ms + self._length_ms
        position = bisect_right(self.starts, at_ms)
        if position < len(self.starts) and self.starts[position] < end_ms and now_ms < end_ms:
            moved_ms = self.starts[position]
            self.starts[position] = at_ms
            return at_ms, moved_ms
        insort(self.starts, at_ms)
        return at_ms, None
