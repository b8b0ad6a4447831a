"""The clocks of the machine: the one place that reads them."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NANOSECONDS_PER_MS = 1_000_000


def wall_ms() -> int:
    """Return the wall clock, milliseconds since 1970 UTC. Only the control plane decides by it."""
    return time.time_ns() // _NANOSECONDS_PER_MS


def boot_ms() -> int:
    """Return milliseconds since the machine booted, time asleep included; never steps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _NANOSECONDS_PER_MS


def boot_id() -> str:
    """Return an id that changes with every boot of the machine; "" where there is none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
