"""Kills the two processes, as a crash would, and starts them again on the same ports and disks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench.processes import Installation
from bench.traces.driving import Interruption

_SHARES: Final = (0.25, 0.5, 0.75)


class Crashes:
    """Three crashes per trace: of the sidecar, of both, of the control plane."""

    def __init__(self, installation: Installation, tell: Callable[[str], None]) -> None:
        self._installation = installation
        self._tell = tell
        self._restart_s: list[float] = []
        self._one_at_a_time = asyncio.Lock()

    def on_the_way(self, calls: int) -> list[Interruption]:
        """Return the crashes, spread over so many calls."""
        acts = (self._crash_sidecar, self._crash_both, self._crash_control_plane)
        return [
            Interruption(int(calls * share), self._timed(act))
            for share, act in zip(_SHARES, acts, strict=True)
        ]

    def summary(self) -> str:
        """Return how often and for how long they were away."""
        return (
            f"{len(self._restart_s)} crashes; ready again after {min(self._restart_s):.1f} to "
            f"{max(self._restart_s):.1f} s."
        )

    def _timed(self, act: Callable[[], str]) -> Callable[[], Awaitable[None]]:
        async def crash() -> None:
            async with self._one_at_a_time:
                started_s = time.monotonic()
                # On a thread: the calls go on meanwhile, and fail, and are repeated.
                who = await asyncio.to_thread(act)
                self._restart_s.append(time.monotonic() - started_s)
                self._tell(f"  killed {who}; ready again after {self._restart_s[-1]:.1f} s")

        return crash

    def _crash_sidecar(self) -> str:
        self._installation.sidecar.kill()
        self._installation.sidecar.start()
        self._installation.wait_sidecar()
        return "the sidecar"

    def _crash_both(self) -> str:
        self._installation.control_plane.kill()
        self._installation.sidecar.kill()
        self._installation.control_plane.start()
        self._installation.sidecar.start()
        self._installation.wait_control_plane()
        self._installation.wait_sidecar()
        return "both"

    def _crash_control_plane(self) -> str:
        self._installation.control_plane.kill()
        self._installation.control_plane.start()
        self._installation.wait_control_plane()
        return "the control plane"
