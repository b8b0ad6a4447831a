"""Checks all pools over and over, page by page, beside the work of the control plane."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from sqlalchemy import Connection, func, select

from control_plane.leasing.conservation import PoolSums, check_page
from control_plane.storage.database import Database
from control_plane.storage.lease_tables import lease_holder
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import get_logger

PAUSE_S: Final = 0.05
DIFFERENCES_LOGGED_MAX: Final = 20

_log = get_logger("leases")


class LeaseWatch:
    """Runs as long as the control plane does. `on_checked` gets each round's sums and holders."""

    def __init__(self, database: Database, interval_s: float) -> None:
        self._database = database
        self._interval_s = interval_s
        self._remarks: list[str] = []
        self.on_checked: Callable[[PoolSums, Counter[str]], None] = _ignore

    def remarks(self) -> list[str]:
        """Say what the last round found that does not add up. For any thread."""
        return list(self._remarks)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            try:
                await self.check()
            except UnavailableError as error:
                _log.warning("leases not checked; tried again later", error=str(error))
            await asyncio.sleep(self._interval_s)

    async def check(self) -> PoolSums:
        """Check every pool once."""
        sums = PoolSums()
        after: int | None = 0
        while after is not None:
            after = await self._database.read(partial(check_page, after=after, sums=sums))
            # Pages are small, and between them others have their turn.
            await asyncio.sleep(PAUSE_S if after is not None else 0)
        holders = await self._database.read(_holders)
        for difference in sums.differences[:DIFFERENCES_LOGGED_MAX]:
            _log.error("units of a limit do not add up", difference=str(difference))
        self._remarks = _remarks(sums)
        self.on_checked(sums, holders)
        return sums


def _holders(connection: Connection) -> Counter[str]:
    state = lease_holder.c.state
    query = select(state, func.count()).group_by(state)
    return Counter({row[0]: row[1] for row in connection.execute(query)})


def _remarks(sums: PoolSums) -> list[str]:
    if not sums.differences:
        return []
    count = len(sums.differences)
    return [f"leases: {count} differences in {sums.pools} pools, the first: {sums.differences[0]}"]


def _ignore(_sums: PoolSums, _holders: Counter[str]) -> None:
    return
