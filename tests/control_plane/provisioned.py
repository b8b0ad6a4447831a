"""An environment for tests: a migrated database and a catalog to put customers on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from control_plane import provisioning
from control_plane.provisioning import CatalogLibrary, CatalogSource, NewCustomer
from control_plane.provisioning.affected import AffectedCustomers
from control_plane.provisioning.applying import AffectingChange, AppliedCatalog
from control_plane.provisioning.loading import CustomerRecord
from control_plane.storage.database import Database
from weighbridge.rules.catalog import Customer

T = TypeVar("T")

NOW_MS = 1_764_000_000_000

CATALOG = """
catalog: api
features:
  api.calls: {type: metered, unit: call}
  sso: {type: boolean}
  file.mib: {type: number, unit: MiB}
  regions: {type: enum, values: [eu, us, ap]}
plans:
  free:
    features:
      api.calls: {limits: [{limit: 100, window: month}]}
      file.mib: 5
      regions: [eu]
    upgrades_to: [pro]
  pro:
    extends: free
    features:
      api.calls: {limits: [{limit: 1000, window: month}]}
      sso: true
add_ons:
  calls_500:
    plans: [pro]
    features:
      api.calls: {limits: [{id: month, limit: 500}]}
"""


class Applied(NamedTuple):
    """What was applied, and whom it affects."""

    catalog: str
    version: int
    changes: tuple[AffectingChange, ...]
    affected: AffectedCustomers
    notices: tuple[str, ...]


class Environment:
    """One environment whose calls run in a transaction each, at a time that the test sets."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.library = CatalogLibrary()
        self.now_ms = NOW_MS

    def apply(self, text: str = CATALOG, expected_version: int | None = None) -> Applied:
        source = CatalogSource(text, "catalog.yaml")
        return self.applied(
            lambda connection: provisioning.apply_catalog(
                connection, self.library, source, expected_version, self.now_ms
            )
        )

    def applied(self, change: Callable[[Connection], AppliedCatalog]) -> Applied:
        """Apply in one transaction, and count in the next."""
        with self.database.writing() as connection:
            applied = change(connection)
        with self.database.reading() as connection:
            counted = provisioning.count_affected(connection, applied, self.now_ms)
        return Applied(
            applied.catalog, applied.version, counted.changes, counted.affected, applied.notices
        )

    def create(
        self, customer_id: str, plan: str = "", resources: tuple[str, ...] = ()
    ) -> CustomerRecord:
        new = NewCustomer(customer_id, f"Customer {customer_id}", "", resources, plan)
        with self.database.writing() as connection:
            return provisioning.create_customer(connection, self.library, new, self.now_ms)

    def customer(self, customer_id: str) -> Customer:
        with self.database.reading() as connection:
            return provisioning.get_customer(connection, customer_id).customer

    def revision(self) -> int:
        with self.database.reading() as connection:
            return provisioning.current_revision(connection)
