"""Usage settled at the same time from several processes, as PostgreSQL lets them: all, once."""

from __future__ import annotations

import asyncio

from metered import NOW_MS, Metered, entry, record

from control_plane.metering.counters import Counter, CounterCache
from control_plane.metering.ingest import settle_records
from control_plane.metering.records import EpochKey, KeyScope, UsageRecord
from control_plane.provisioning import CatalogLibrary
from control_plane.storage.database import Database
from tests.storage_engines import FreshUrl
from weighbridge.rules.errors import UnavailableError

WRITERS = 3
ROUNDS = 12


class Writer:
    """A process that settles: with connections and a cache of its own."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._cache = CounterCache(CatalogLibrary())

    async def settle(self, *records: UsageRecord) -> None:
        while True:
            try:
                await self.database.write(
                    lambda c: settle_records(c, records, self._fresh_cache(), NOW_MS)
                )
            except UnavailableError:
                # It lost too often.
                await asyncio.sleep(0.001)
            else:
                return

    def _fresh_cache(self) -> CounterCache:
        self._cache.clear()
        return self._cache


def keyed(number: int) -> list[UsageRecord]:
    """One call, that each sidecar has a record of."""
    used = entry(
        amount=1000, key=f"key-{number}", key_scope=KeyScope.FLEET, payload_digest=b"digest"
    )
    return [record(number, used, sidecar_id=f"sc-{writer}") for writer in range(WRITERS)]


async def test_writers_that_meet_lose_and_double_nothing(fresh_postgresql_url: FreshUrl) -> None:
    with fresh_postgresql_url() as url:
        metered = Metered(Database(url))
        writers = [Writer(url) for _ in range(WRITERS)]
        for number in range(1, 2 * ROUNDS, 2):
            # The same customer's windows, without rows at first; the same records twice.
            plain = [record(number, entry(amount=1), sidecar_id=f"sc-{w}") for w in range(WRITERS)]
            await asyncio.gather(
                *(writer.settle(mine) for writer, mine in zip(writers, plain, strict=True)),
                writers[0].settle(plain[1]),
            )
            # One key, used by each of them.
            await asyncio.gather(
                *(w.settle(mine) for w, mine in zip(writers, keyed(number + 1), strict=True))
            )

        used = ROUNDS * (WRITERS + 1000)
        assert metered.sum_of_events(Counter("acme", "", "api.calls")) == used
        assert set(metered.totals("acme").values()) == {0, used}
        marks = [metered.mark(*EpochKey(f"sc-{writer}", "e1")) for writer in range(WRITERS)]
        assert marks == [2 * ROUNDS] * WRITERS
        for database in (metered.database, *(writer.database for writer in writers)):
            database.close()
