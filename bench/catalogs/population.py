"""A catalog of 20 features, and customers on one plan of it, put into a database in bulk.

One customer is made as administration makes it; the others are copies of its rows, each with an
anchor and seats of its own, some with an add-on and an override, so that no two are the same.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from control_plane import provisioning
from control_plane.provisioning import CatalogLibrary, CatalogSource, NewCustomer
from control_plane.storage import tables
from control_plane.storage.database import Database
from weighbridge.rules.catalog import SubscribedAddOn

CATALOG: Final = "bench"
PLAN: Final = "scale"
PLAN_FEATURE: Final = "metered.00"
"""Whose limit each plan change sets."""
OVERRIDDEN: Final = "metered.01"
CUSTOMER_FEATURE: Final = "metered.06"
"""Whose limit each change of one customer sets."""
METERED: Final = 12
BOOLEANS: Final = 4
NUMBERS: Final = 2
ENUMS: Final = 2
FEATURES: Final = METERED + BOOLEANS + NUMBERS + ENUMS
LIMIT: Final = 1_000_000
ADD_ON_EVERY: Final = 4
OVERRIDE_EVERY: Final = 10
_SEATS_MAX: Final = 50
_ADD_ONS_MAX: Final = 7
_ROWS_AT_ONCE: Final = 5_000
_MORE_LIMITS: Final = (
    "",
    ", {limit: 100000, window: day}",
    ", {id: seats, limit: 5000, kind: soft, per_seat: true, window: month}",
)


def catalog_text(limit: int) -> str:
    """Return the catalog; `limit` is that of PLAN_FEATURE."""
    features, grants = [], []
    for number in range(METERED):
        name = f"metered.{number:02}"
        monthly = f"{{limit: {limit if name == PLAN_FEATURE else LIMIT}, window: month}}"
        more = _MORE_LIMITS[number % len(_MORE_LIMITS)]
        features.append(f"  {name}: {{type: metered, unit: call}}")
        grants.append(f"      {name}: {{limits: [{monthly}{more}]}}")
    for number in range(BOOLEANS):
        features.append(f"  boolean.{number:02}: {{type: boolean}}")
        grants.append(f"      boolean.{number:02}: true")
    for number in range(NUMBERS):
        features.append(f"  number.{number:02}: {{type: number}}")
        grants.append(f"      number.{number:02}: {10 + number}")
    for number in range(ENUMS):
        features.append(f"  enum.{number:02}: {{type: enum, values: [a, b, c]}}")
        grants.append(f"      enum.{number:02}: [a, b]")
    plan = ["plans:", f"  {PLAN}:", "    features:", *grants]
    add_on = "add_ons:\n  more: {features: {metered.03: {limits: [{id: month, limit: 1000}]}}}\n"
    return "\n".join([f"catalog: {CATALOG}", "features:", *features, *plan, add_on])


def customer_id(number: int) -> str:
    """Return the id of a customer, from 0."""
    return f"customer-{number:06}"


def seed(url: str, customers: int, now_ms: int) -> None:
    """Make the tables, the catalog and so many customers in a database that nothing else uses."""
    database = Database(url)
    try:
        database.migrate()
        library = CatalogLibrary()
        with database.writing() as connection:
            source = CatalogSource(catalog_text(LIMIT), "bench")
            provisioning.apply_catalog(connection, library, source, None, now_ms)
            _make_first(connection, library, now_ms)
            _copy_first(connection, customers - 1)
    finally:
        database.close()


def _make_first(connection: Connection, library: CatalogLibrary, now_ms: int) -> None:
    first = customer_id(0)
    new = NewCustomer(first, first, CATALOG, (), "")
    provisioning.create_customer(connection, library, new, now_ms)
    wanted = provisioning.WantedSubscription(
        customer=first, plan=PLAN, add_ons=(SubscribedAddOn("more"),)
    )
    provisioning.set_subscription(connection, library, wanted, now_ms)
    limit = provisioning.WantedLimit("month", LIMIT)
    override = provisioning.WantedOverride(
        first, provisioning.WantedEntitlement(OVERRIDDEN, limits=(limit,))
    )
    provisioning.set_override(connection, library, override, now_ms)


def _copy_first(connection: Connection, copies: int) -> None:
    revision = provisioning.current_revision(connection)
    first = _Rows(connection, customer_id(0), revision)
    for start in range(1, copies + 1, _ROWS_AT_ONCE):
        numbers = range(start, min(start + _ROWS_AT_ONCE, copies + 1))
        bought = [n for n in numbers if n % ADD_ON_EVERY == 0]
        overridden = [n for n in numbers if n % OVERRIDE_EVERY == 0]
        for table, rows in (
            (tables.customer, [first.customer(n) for n in numbers]),
            (tables.subscription, [first.subscription(n) for n in numbers]),
            (tables.subscription_add_on, [first.add_on(n) for n in bought]),
            (tables.override, [first.override(n) for n in overridden]),
        ):
            if rows:
                connection.execute(insert(table), rows)
    connection.execute(update(tables.environment).values(revision=revision + copies))


class _Rows:
    """The rows of the customer that is copied, as those of others with later revisions."""

    def __init__(self, connection: Connection, first: str, revision: int) -> None:
        def row(query: Any) -> dict[str, Any]:
            return dict(connection.execute(query).mappings().one())

        of, bought, override = tables.subscription, tables.subscription_add_on, tables.override
        self._revision = revision
        self._customer = row(select(tables.customer).where(tables.customer.c.id == first))
        self._subscription = row(select(of).where(of.c.customer_id == first))
        self._add_on = row(select(bought))
        self._override = row(select(override).where(override.c.customer_id == first))

    def customer(self, number: int) -> dict[str, Any]:
        name = customer_id(number)
        return {**self._customer, "id": name, "name": name, "version": self._revision + number}

    def subscription(self, number: int) -> dict[str, Any]:
        return {
            **self._subscription,
            "id": self._subscription_id(number),
            "customer_id": customer_id(number),
            "anchor_ms": self._subscription["anchor_ms"] - number * 60_000,
            "quantity": 1 + number % _SEATS_MAX,
        }

    def add_on(self, number: int) -> dict[str, Any]:
        quantity = 1 + number % _ADD_ONS_MAX
        id_ = self._subscription_id(number)
        return {**self._add_on, "subscription_id": id_, "quantity": quantity}

    def override(self, number: int) -> dict[str, Any]:
        entitlement = copy.deepcopy(self._override["entitlement"])
        entitlement["limits"][0]["limit"] += number
        return {
            **self._override,
            "id": f"override-{self._revision + number}",
            "customer_id": customer_id(number),
            "entitlement": entitlement,
        }

    def _subscription_id(self, number: int) -> str:
        return f"sub-{self._revision + number}"
