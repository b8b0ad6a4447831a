"""One control plane's usage on one database: settled, summed and billed as the process does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import text

from bench.failure import BenchError
from control_plane import provisioning
from control_plane.billing.statement import StatementQuery, make_statement
from control_plane.metering.counters import CounterCache
from control_plane.metering.ingest import settle_records
from control_plane.metering.queries import UsageGroup, UsageQuery, query_usage
from control_plane.metering.records import KeyScope, UsageEntry, UsageKind, UsageRecord
from control_plane.provisioning import CatalogLibrary, CatalogSource, NewCustomer
from control_plane.storage.database import Database
from weighbridge.runtime.clock import wall_ms

DAY_MS: Final = 86_400_000
CUSTOMERS: Final = 1_000
ENTRIES_PER_RECORD: Final = 100
RECORDS_PER_TRANSACTION: Final = 100
MODELS: Final = ("large", "medium", "small", "tiny")
BIG: Final = "big"
_CATALOG: Final = """
catalog: bench
features:
  calls: {type: metered, consistency: cached}
plans:
  bench:
    features: {calls: {limits: [{limit: 1000000000000, window: month}]}}
    prices:
      USD:
        - {flat: 10.00}
        - {feature: calls, graduated: [{up_to: 1000, unit: 0}, {unit: 0.001}]}
"""


class Costs(NamedTuple):
    """What one database did: per second, in seconds, and in bytes.

    `statement_s` and `day_s` are by how many events of the customer there were; `bytes_per_event`
    is of the whole database.
    """

    deltas: float
    keyed: float
    statement_s: dict[int, float]
    day_s: dict[int, float]
    bytes_per_event: float


class Stored:
    """A database that is filled, and measured on the way."""

    def __init__(self, url: str, size_of: Callable[[Database], int]) -> None:
        self.database = Database(url)
        self.database.migrate()
        self._size_of = size_of
        self._library = CatalogLibrary()
        self._cache = CounterCache(self._library)
        self._number = 0
        # A month that is over, so that its statement is final.
        self.start_ms = wall_ms() - 32 * DAY_MS
        with self.database.writing() as connection:
            source = CatalogSource(_CATALOG, "bench")
            provisioning.apply_catalog(connection, self._library, source, None, self.start_ms)
            for name in (BIG, *(f"c{number:04}" for number in range(CUSTOMERS))):
                new = NewCustomer(name, name, "", (), "bench")
                provisioning.create_customer(connection, self._library, new, self.start_ms)

    def deltas(self, seconds: float) -> float:
        """Settle sums of many customers for a while; return how many a second."""
        return self._rate(seconds, self._delta)

    def keyed(self, seconds: float) -> float:
        """Settle single events with fleet-wide idempotency keys; return how many a second."""
        return self._rate(seconds, self._keyed)

    def fill(self, count: int, done: int) -> None:
        """Give one customer events, up to so many, spread over 30 days."""
        step_ms = 30 * DAY_MS // count
        while done < count:
            size = min(count - done, ENTRIES_PER_RECORD * RECORDS_PER_TRANSACTION)
            entries = [
                UsageEntry(
                    BIG,
                    "",
                    "calls",
                    1 + position % 7,
                    self.start_ms + position * step_ms,
                    UsageKind.CONSUME,
                    dimensions=(("model", MODELS[position % len(MODELS)]),),
                )
                for position in range(done, done + size)
            ]
            self._settle(entries)
            done += size

    def statement_s(self) -> float:
        """Return how long the big customer's statement takes."""
        query = StatementQuery(BIG, self.start_ms, wall_ms())

        def make() -> None:
            with self.database.reading() as connection:
                made = make_statement(connection, self._library, query, wall_ms())
            if not made.total_minor:
                raise BenchError("the statement charges nothing")

        return _median_s(make)

    def day_s(self) -> float:
        """Return how long one day's usage of the big customer by model takes."""
        from_ms = self.start_ms + 15 * DAY_MS
        query = UsageQuery(
            BIG, "", "calls", from_ms, from_ms + DAY_MS, (UsageGroup.HOUR,), ("model",)
        )

        def ask() -> None:
            with self.database.reading() as connection:
                if not query_usage(connection, query):
                    raise BenchError("nothing was used on that day")

        return _median_s(ask)

    def bytes_per_event(self) -> float:
        """Return what an event takes on disk, its indexes and totals included."""
        with self.database.reading() as connection:
            events = connection.execute(text("SELECT COUNT(*) FROM usage_event")).scalar_one()
        return self._size_of(self.database) / max(int(events), 1)

    def _rate(self, seconds: float, make: Callable[[int], UsageEntry]) -> float:
        settled, until_s = 0, time.perf_counter() + seconds
        started_s = time.perf_counter()
        while time.perf_counter() < until_s:
            count = ENTRIES_PER_RECORD * RECORDS_PER_TRANSACTION
            self._settle([make(settled + position) for position in range(count)])
            settled += count
        return settled / (time.perf_counter() - started_s)

    def _delta(self, position: int) -> UsageEntry:
        customer = f"c{position % CUSTOMERS:04}"
        return UsageEntry(customer, "", "calls", 3, wall_ms(), UsageKind.CONSUME, calls=3)

    def _keyed(self, position: int) -> UsageEntry:
        entry = self._delta(position)
        return entry._replace(
            calls=1,
            key=f"k{self._number}-{position}",
            key_scope=KeyScope.FLEET,
            payload_digest=b"0123456789abcdef",
        )

    def _settle(self, entries: Sequence[UsageEntry]) -> None:
        records = []
        for first in range(0, len(entries), ENTRIES_PER_RECORD):
            self._number += 1
            part = tuple(entries[first : first + ENTRIES_PER_RECORD])
            digest = self._number.to_bytes(16, "big")
            records.append(UsageRecord("bench", "epoch-1", self._number, digest, part))
        with self.database.writing() as connection:
            settlement = settle_records(connection, records, self._cache, wall_ms())
        if settlement.events != len(entries):
            raise BenchError(f"{settlement.events} of {len(entries)} events were settled")


def measure_usage(
    url: str, size_of: Callable[[Database], int], seconds: float, sizes: Sequence[int]
) -> Costs:
    """Measure on a database that nothing else uses. Raises BenchError where usage is missing."""
    stored = Stored(url, size_of)
    try:
        deltas, keyed = stored.deltas(seconds), stored.keyed(seconds)
        statement_s, day_s, done = {}, {}, 0
        for size in sizes:
            stored.fill(size, done)
            done = size
            statement_s[size], day_s[size] = stored.statement_s(), stored.day_s()
        return Costs(deltas, keyed, statement_s, day_s, stored.bytes_per_event())
    finally:
        stored.database.close()


def size_of_files(folder: Path) -> Callable[[Database], int]:
    """Return what measures an SQLite database: its files."""
    return lambda _database: sum(path.stat().st_size for path in folder.iterdir())


def size_of_postgresql(database: Database) -> int:
    """Return the size that PostgreSQL says its database has."""
    with database.reading() as connection:
        size = connection.execute(text("SELECT pg_database_size(current_database())"))
        return int(size.scalar_one())


def _median_s(work: Callable[[], None]) -> float:
    taken = []
    for _ in range(3):
        started_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started_s)
    return sorted(taken)[1]
