"""A ledger for tests: a migrated database with customers, and calls that run at a set time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from sqlalchemy import Connection, select, text

from control_plane import crediting, provisioning
from control_plane.crediting import Book, Charge, LedgerId, NewGrant, Reversal, Transaction
from control_plane.crediting.conservation import not_conserved
from control_plane.crediting.queries import balances, list_grants
from control_plane.crediting.verifying import verify_ledgers
from control_plane.provisioning import CatalogLibrary, CatalogSource
from control_plane.storage.database import Database
from control_plane.storage.metadata import metadata
from weighbridge.rules.credits import GrantKind
from weighbridge.rules.ledger import Balance, Burn

T = TypeVar("T")

NOW_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z
DAY_MS = 86_400_000
LEDGER = LedgerId("acme", "credits")
CATALOG = """
catalog: api
features: {calls: {type: metered}}
credit_types: {credits: {}}
plans: {free: {features: {calls: unlimited}}}
"""


class Credited:
    """An environment with the customers acme and beta."""

    def __init__(self, database: Database, text_of_catalog: str = CATALOG) -> None:
        self.database = database
        self.library = CatalogLibrary()
        self.now_ms = NOW_MS
        self._keys = 0
        self.apply(text_of_catalog)
        for name in ("acme", "beta"):
            self.create(name)

    def apply(self, document: str) -> None:
        source = CatalogSource(document, "c.yaml")
        self.write(lambda c: provisioning.apply_catalog(c, self.library, source, None, self.now_ms))

    def create(self, name: str, plan: str = "") -> None:
        new = provisioning.NewCustomer(name, name, "", ("ws-1",), plan)
        self.write(lambda c: provisioning.create_customer(c, self.library, new, self.now_ms))

    def key(self) -> str:
        self._keys += 1
        return f"k{self._keys}"

    def write(self, work: Callable[[Connection], T]) -> T:
        with self.database.writing() as connection:
            return work(connection)

    def post(self, work: Callable[[Book], T], ledger: LedgerId = LEDGER) -> T:
        with (
            self.database.writing() as connection,
            crediting.open_book(connection, ledger, self.now_ms) as book,
        ):
            return work(book)

    def grant(self, amount: int, key: str = "", **terms: Any) -> Transaction:
        terms = {"kind": GrantKind.PREPAID, **terms}
        new = NewGrant(key or self.key(), amount=amount, **terms)
        return self.post(lambda book: crediting.create_grant(book, new))

    def charge(self, amount: int, key: str = "", **more: Any) -> Transaction:
        wanted = Charge(key or self.key(), amount, **more)
        return self.post(lambda book: crediting.charge(book, wanted))

    def reverse(self, of_key: str, amount: int | None = None, key: str = "") -> Transaction:
        wanted = Reversal(key or self.key(), of_key, amount)
        return self.post(lambda book: crediting.reverse(book, wanted))

    def adjust(self, grant: int, change: int) -> Transaction:
        wanted = crediting.Adjustment(self.key(), grant, change)
        return self.post(lambda book: crediting.adjust_grant(book, wanted))

    def carve(self, holder: str, amount: int) -> Burn:
        return self.post(lambda book: crediting.carve(book, holder, amount, self.now_ms))

    def give_back(self, holder: str, amount: int) -> None:
        self.post(lambda book: crediting.give_back(book, holder, amount))

    def expire(self) -> int:
        return self.write(lambda connection: crediting.expire_due(connection, self.now_ms))

    def balance(self, ledger: LedgerId = LEDGER) -> Balance:
        with self.database.reading() as connection:
            found = balances(connection, ledger.customer, ledger.credit_type, self.now_ms)
        return found[ledger]

    def rows(self, table: str) -> list[Any]:
        """Return all rows of a table."""
        with self.database.reading() as connection:
            return list(connection.execute(select(metadata.tables[table])))

    def left(self) -> dict[int, int]:
        """Return what each grant has left, by its id, in burn order."""
        with self.database.reading() as connection:
            found = list_grants(connection, *LEDGER, with_empty=False)
        return {each.lot.grant.id: each.lot.balance for each in found}

    def require_sound(self) -> None:
        """Fail where a ledger does not verify, or credits were made or lost."""
        with self.database.reading() as connection:
            assert verify_ledgers(connection).differences == ()
            assert not_conserved(connection, "", 100).broken == ()

    def spoil(self, *statements: str) -> None:
        """Change rows behind the ledger's back, as only a person with SQL and every right can."""
        url = self.database._writing.url
        if url.get_backend_name() == "postgresql":
            with self.database.writing() as connection:
                # No triggers and no foreign keys in this transaction.
                for each in ("SET LOCAL session_replication_role = replica", *statements):
                    connection.execute(text(each))
            return
        assert url.database is not None
        # Foreign keys are off unless they are asked for.
        with closing(sqlite3.connect(url.database)) as plain, plain:
            triggers = plain.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for each in (*(f"DROP TRIGGER {name}" for (name,) in triggers.fetchall()), *statements):
                plain.execute(each)

    def spoil_last(self, table: str, column: str, change: str) -> None:
        """Change the newest row of a table."""
        key = "rowid" if self.database._writing.url.get_backend_name() == "sqlite" else "ctid"
        self.spoil(
            f"UPDATE {table} SET {column} = {column} {change} "
            f"WHERE {key} = (SELECT MAX({key}) FROM {table})"
        )
