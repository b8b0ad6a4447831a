"""Simulated clocks, and everything else that would make two runs of one seed differ, replaced."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

import structlog

from sidecar.journal.upkeep import Upkeep
from sidecar.uplink import keeping
from weighbridge.runtime import clock

BEGAN_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z


class Timeline:
    """The time that nobody in the simulation can read."""

    def __init__(self) -> None:
        self.now_ms = 0


class Machine:
    """The clocks of one machine: a boot clock that drifts, a wall clock that is wrong."""

    def __init__(self, timeline: Timeline, random: Random) -> None:
        self._timeline = timeline
        self._random = random
        self.wall_skew_ms = random.randint(-90_000, 90_000)
        # While it is set, the boot clock reads as it did when it was set.
        self.frozen_boot_ms: int | None = None
        self.boot_id = ""
        self._base_ms = self._booted_ms = 0
        self._rate = 1.0
        self.boot()

    def boot(self) -> None:
        """Start again: another boot id, another boot clock."""
        self.boot_id = f"boot-{self._random.getrandbits(64):016x}"
        self._base_ms = self._random.randint(10_000, 100_000_000)
        self._booted_ms = self._timeline.now_ms
        self._rate = 1 + self._random.uniform(-0.03, 0.03)

    def boot_ms(self) -> int:
        if self.frozen_boot_ms is not None:
            return self.frozen_boot_ms
        return self._base_ms + int((self._timeline.now_ms - self._booted_ms) * self._rate)

    def wall_ms(self) -> int:
        return BEGAN_MS + self._timeline.now_ms + self.wall_skew_ms


class Running:
    """Which machine's code runs now."""

    def __init__(self) -> None:
        self.machine: Machine | None = None

    @contextmanager
    def on(self, machine: Machine) -> Iterator[None]:
        before, self.machine = self.machine, machine
        try:
            yield
        finally:
            self.machine = before

    def read(self, read: Callable[[Machine], int]) -> int:
        assert self.machine is not None, "a clock is read outside of any machine"
        return read(self.machine)


def _boot_id(running: Running) -> str:
    assert running.machine is not None, "no machine runs"
    return running.machine.boot_id


@contextmanager
def deterministic(running: Running, random: Random) -> Iterator[None]:
    """Have clocks and secrets come from the seed, and no thread run."""

    def boot_ms() -> int:
        return running.read(Machine.boot_ms)

    def wall_ms() -> int:
        return running.read(Machine.wall_ms)

    def token_hex(size: int) -> str:
        return f"{random.getrandbits(8 * size):0{2 * size}x}"

    replaced = (
        patch.object(clock, "boot_ms", boot_ms),
        patch.object(clock, "wall_ms", wall_ms),
        patch.object(clock, "boot_id", lambda: _boot_id(running)),
        patch.object(keeping, "boot_ms", boot_ms),
        patch.object(keeping, "wall_ms", wall_ms),
        patch.object(secrets, "token_hex", token_hex),
        # Rounds of upkeep are run as events.
        patch.object(Upkeep, "start", lambda _upkeep: None),
    )
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for each in replaced:
        each.start()
    try:
        yield
    finally:
        for each in reversed(replaced):
            each.stop()
        structlog.configure(**before)
