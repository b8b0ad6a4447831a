"""An environment for tests of metering: a catalog, customers, and records to settle."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import select

from control_plane import provisioning
from control_plane.metering.counters import Counter, CounterCache, CustomerCounters
from control_plane.metering.epochs import settled_marks
from control_plane.metering.ingest import Settlement, settle_records
from control_plane.metering.queries import UsageQuery, UsageRow, query_usage
from control_plane.metering.records import EpochKey, UsageEntry, UsageKind, UsageRecord
from control_plane.metering.totals import read_current
from control_plane.provisioning import CatalogLibrary, CatalogSource, NewCustomer
from control_plane.storage.database import Database
from control_plane.storage.tables import usage_event, usage_set_aside, usage_total

NOW_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z

CATALOG = """
catalog: api
features:
  api.calls: {type: metered, unit: call}
  jobs: {type: metered}
  sso: {type: boolean}
plans:
  free:
    features:
      api.calls: {limits: [{limit: 100, window: month}]}
  pro:
    features:
      api.calls: {limits: [{limit: 1000, window: month}, {limit: 200, window: day}]}
      jobs: {limits: [{limit: 10, window: lifetime}]}
      sso: true
"""


def all_counters(customer: CustomerCounters) -> list[Counter]:
    """Return every counter a customer can have."""
    return [
        Counter(customer.customer.id, resource, feature)
        for resource in customer.resources
        for feature in customer.catalog.metered
    ]


class Metered:
    """An environment, and one cache of counters as an ingesting process has it."""

    def __init__(self, database: Database, catalog: str = CATALOG) -> None:
        self.database = database
        self.library = CatalogLibrary()
        self.cache = CounterCache(self.library)
        self.now_ms = NOW_MS
        self.apply(catalog)
        self.create("acme", "pro", ("ws-1",))
        self.create("beta", "free")

    def apply(self, text: str) -> None:
        source = CatalogSource(text, "catalog.yaml")
        with self.database.writing() as connection:
            provisioning.apply_catalog(connection, self.library, source, None, self.now_ms)

    def create(
        self, customer: str, plan: str = "", resources: tuple[str, ...] = (), parent: str = ""
    ) -> None:
        new = NewCustomer(customer, customer, "", resources, plan, parent)
        with self.database.writing() as connection:
            provisioning.create_customer(connection, self.library, new, self.now_ms)

    def subscribe(self, customer: str, plan: str, resource: str = "") -> None:
        wanted = provisioning.WantedSubscription(customer=customer, plan=plan, resource=resource)
        with self.database.writing() as connection:
            provisioning.set_subscription(connection, self.library, wanted, self.now_ms)

    def settle(self, *records: UsageRecord) -> Settlement:
        with self.database.writing() as connection:
            return settle_records(connection, records, self.cache, self.now_ms)

    def mark(self, sidecar_id: str = "sc-1", epoch: str = "e1") -> int:
        with self.database.reading() as connection:
            return settled_marks(connection, [EpochKey(sidecar_id, epoch)])[0].number

    def totals(self, customer: str) -> dict[tuple[str, str, str], int]:
        """Return the current totals by resource, feature and window, as sidecars get them."""
        with self.database.reading() as connection:
            cache = CounterCache(self.library)
            cache.refresh(connection, [customer])
            found = cache.find(customer)
            assert found is not None
            read = read_current(connection, [(found, all_counters(found))], self.now_ms)
        return {(t.resource, t.feature, t.window.key): t.total for t in read[customer]}

    def stored_totals(self) -> dict[tuple[str, str, str, str, int], int]:
        return {tuple(row[:5]): row.total for row in self.rows(usage_total)}  # type: ignore[misc]

    def sum_of_events(self, counter: Counter, start_ms: int = 0, end_ms: int = 2**62) -> int:
        """Sum the events of a counter without any of the code under test."""
        return sum(
            row.amount
            for row in self.rows(usage_event)
            if (row.customer_id, row.resource_id, row.feature_id) == counter
            and start_ms <= row.occurred_at_ms < end_ms
        )

    def set_aside(self) -> list[str]:
        return [row.reason for row in self.rows(usage_set_aside)]

    def usage(self, query: UsageQuery) -> list[UsageRow]:
        with self.database.reading() as connection:
            return query_usage(connection, query)

    def rows(self, table: Any) -> Sequence[Any]:
        with self.database.reading() as connection:
            return connection.execute(select(table)).all()


def entry(customer: str = "acme", amount: int = 1, **changes: Any) -> UsageEntry:
    made = UsageEntry(customer, "", "api.calls", amount, NOW_MS, UsageKind.CONSUME)
    return made._replace(**changes)


def record(number: int, *entries: UsageEntry, **changes: Any) -> UsageRecord:
    digest = sha256(repr(entries).encode()).digest()[:16]
    return UsageRecord("sc-1", "e1", number, digest, entries)._replace(**changes)
