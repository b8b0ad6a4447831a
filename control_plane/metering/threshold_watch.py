"""Looks at what usage reached for as long as the control plane runs, soon after it is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from control_plane.metering.counters import CounterCache
from control_plane.metering.thresholds import ThresholdFinder, store
from control_plane.provisioning import CatalogLibrary
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import get_logger

INTERVAL_S: Final = 0.5
"""How often at most: what is settled meanwhile is looked at together."""

POLL_S: Final = 10.0
"""Also without a sign: another control plane may have settled."""

_log = get_logger("metering")


class ThresholdWatch:
    """One control plane's looks. `on_reached` is told how many limits there is news of."""

    def __init__(
        self, database: Database, library: CatalogLibrary, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._finder = ThresholdFinder(CounterCache(library))
        self._now_ms = now_ms
        self._changed = asyncio.Event()
        self.on_reached: Callable[[int], None] = _ignore

    def wake(self) -> None:
        """Note that usage was settled."""
        self._changed.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                is_more = await self.step()
            except UnavailableError as error:
                _log.warning("thresholds not looked at; tried again later", error=str(error))
                is_more = False
            if not is_more:
                await asyncio.sleep(INTERVAL_S)
                # Not wait_for: before Python 3.12 it loses a cancel that comes with the event.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._changed.wait()
                self._changed.clear()

    async def step(self) -> bool:
        """Look at a page of totals that changed, and tell; whether there is more."""
        now_ms = self._now_ms()
        look = await self._database.read(lambda c: self._finder.look(c, now_ms))
        if look.until != look.since:
            await self._database.write(lambda c: store(c, look, now_ms))
        self.on_reached(sum(1 for each in look.reached if each.percents))
        return look.is_more


def _ignore(_count: int) -> None:
    return
