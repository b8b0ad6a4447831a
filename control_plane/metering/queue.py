"""Usage on its way into the database: records of all streams, grouped into one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from sqlalchemy import Connection

from control_plane.metering.counters import CounterCache
from control_plane.metering.ingest import Settlement, settle_records
from control_plane.metering.records import UsageRecord
from control_plane.provisioning import CatalogLibrary
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import get_logger

WEIGHT_PER_TRANSACTION: Final = 10_000
"""Records and their entries: past that, larger transactions are hardly faster, but later."""

BATCHES_WAITING_MAX: Final = 256
RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 5.0
DOUBLINGS_MAX: Final = 16

_log = get_logger("metering")


class _Waiting(NamedTuple):
    records: Sequence[UsageRecord]
    settled: asyncio.Future[Settlement]

    @property
    def weight(self) -> int:
        return sum(1 + len(record.entries) for record in self.records)


class IngestQueue:
    """Settles batches in the order they come. Bounded: a full queue makes streams wait."""

    def __init__(
        self,
        database: Database,
        library: CatalogLibrary,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._database = database
        self._cache = CounterCache(library)
        self._now_ms = now_ms
        self._random = random
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(BATCHES_WAITING_MAX)
        # Told what became of each transaction.
        self.on_settled: Callable[[Settlement], None] = _ignore

    async def settle(self, records: Sequence[UsageRecord]) -> Settlement:
        """Settle records together with those of other streams; return once that is committed."""
        settled: asyncio.Future[Settlement] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Waiting(records, settled))
        return await settled

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            group = [await self._queue.get()]
            weight = group[0].weight
            while weight < WEIGHT_PER_TRANSACTION and not self._queue.empty():
                group.append(self._queue.get_nowait())
                weight += group[-1].weight
            try:
                settlement = await self._settle(group)
            except Exception as error:  # noqa: BLE001 (what one batch does must not fail others)
                await self._settle_alone(group, error)
            else:
                self._tell(group, settlement)

    async def _settle_alone(self, group: Sequence[_Waiting], error: Exception) -> None:
        """Find the batch that cannot be settled; the error is for the stream that sent it."""
        if len(group) == 1:
            _log.error("usage not settled", error=str(error), records=len(group[0].records))
            if not group[0].settled.done():
                group[0].settled.set_exception(error)
            return
        for waiting in group:
            try:
                settlement = await self._settle([waiting])
            except Exception as own_error:  # noqa: BLE001 (handed to the stream)
                await self._settle_alone([waiting], own_error)
            else:
                self._tell([waiting], settlement)

    def _tell(self, group: Sequence[_Waiting], settlement: Settlement) -> None:
        self.on_settled(settlement)
        for key in settlement.overdrawn:
            _log.warning("more was released than acquired", **key._asdict())
        for waiting in group:
            if not waiting.settled.done():
                waiting.settled.set_result(settlement)

    async def _settle(self, group: Sequence[_Waiting]) -> Settlement:
        records = [record for waiting in group for record in waiting.records]

        is_again = False

        def work(connection: Connection) -> Settlement:
            nonlocal is_again
            if is_again:
                # The transaction failed, perhaps at its commit, after the cache took it in.
                self._cache.clear()
            is_again = True
            return settle_records(connection, records, self._cache, self._now_ms())

        attempt = 0
        while True:
            try:
                return await self._database.write(work)
            except UnavailableError as error:
                # Sidecars keep what is not acknowledged, so waiting loses nothing.
                _log.warning("usage not settled; tried again", error=str(error))
                span_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(attempt, DOUBLINGS_MAX))
                await asyncio.sleep(self._random.uniform(RETRY_S_MIN, span_s))
                attempt += 1
            except Exception:
                self._cache.clear()
                raise


def _ignore(_settlement: Settlement) -> None:
    return
