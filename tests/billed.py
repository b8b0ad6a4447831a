"""An environment for statements: customers on catalogs, whose usage is settled at a set time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

from sqlalchemy import Connection

from control_plane import provisioning
from control_plane.billing.statement import Statement, StatementQuery, make_statement
from control_plane.metering.counters import CounterCache
from control_plane.metering.ingest import settle_records
from control_plane.metering.records import UsageEntry, UsageKind, UsageRecord
from control_plane.provisioning import CatalogLibrary, CatalogSource
from control_plane.storage.database import Database
from weighbridge.rules.catalog import SubscribedAddOn

T = TypeVar("T")

START_MS = 1_764_547_200_000  # 2025-12-01T00:00:00Z
DAY_MS = 86_400_000
END_MS = START_MS + 31 * DAY_MS


class Billed:
    """An environment; calls run at `now_ms`, the start of December until it is moved."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.library = CatalogLibrary()
        self.cache = CounterCache(self.library)
        self.now_ms = START_MS
        self._records = 0

    def write(self, work: Callable[[Connection], T]) -> T:
        with self.database.writing() as connection:
            return work(connection)

    def apply(self, text: str, **more: Any) -> None:
        source = CatalogSource(text, "catalog.yaml")
        self.write(
            lambda c: provisioning.apply_catalog(c, self.library, source, None, self.now_ms, **more)
        )

    def create(self, customer: str, plan: str = "", parent: str = "", **more: Any) -> None:
        new = provisioning.NewCustomer(
            customer, customer, "", more.pop("resources", ()), plan, parent, **more
        )
        self.write(lambda c: provisioning.create_customer(c, self.library, new, self.now_ms))

    def subscribe(
        self, customer: str, plan: str, add_ons: Mapping[str, int] | None = None, **more: Any
    ) -> None:
        bought = tuple(SubscribedAddOn(*each) for each in (add_ons or {}).items())
        wanted = provisioning.WantedSubscription(
            customer=customer, plan=plan, add_ons=bought, **more
        )
        self.write(lambda c: provisioning.set_subscription(c, self.library, wanted, self.now_ms))

    def use(
        self,
        customer: str,
        feature: str,
        amount: int,
        at_ms: int | None = None,
        resource: str = "",
        **dimensions: str,
    ) -> None:
        """Settle one event."""
        self._records += 1
        entry = UsageEntry(
            customer,
            resource,
            feature,
            amount,
            self.now_ms if at_ms is None else at_ms,
            UsageKind.REPORT,
            dimensions=tuple(sorted(dimensions.items())),
        )
        digest = sha256(repr(entry).encode()).digest()[:16]
        record = UsageRecord("sc-1", "e1", self._records, digest, (entry,))
        settled = self.write(
            lambda c: settle_records(
                c, [record], self.cache, max(self.now_ms, entry.occurred_at_ms)
            )
        )
        assert not settled.set_aside, settled.set_aside

    def statement(
        self, customer: str, from_ms: int = START_MS, to_ms: int = END_MS, currency: str = ""
    ) -> Statement:
        query = StatementQuery(customer, from_ms, to_ms, currency)
        with self.database.reading() as connection:
            return make_statement(connection, self.library, query, self.now_ms)
