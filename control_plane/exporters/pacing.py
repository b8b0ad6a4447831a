"""Keeps requests to a rate: whoever asks too soon waits."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """At most so many requests a second, evenly. For one thread at a time."""

    def __init__(
        self,
        per_second: float,
        clock_s: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1 / per_second
        self._clock_s = clock_s
        self._wait = wait
        self._next_s = 0.0

    def take(self) -> None:
        """Return when the next request may be made."""
        now_s = self._clock_s()
        if now_s < self._next_s:
            self._wait(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + self._interval_s
