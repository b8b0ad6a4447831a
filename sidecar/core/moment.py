"""Now, on both clocks."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """Now: on the control plane's clock, and on this machine's CLOCK_BOOTTIME."""

    now_ms: int
    boot_ms: int
