"""Customers from the database, many at once: the number of queries does not grow with theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import BindParameter, Connection, Subquery, bindparam, case, func, or_, select

from control_plane.provisioning.rows import override_from_row, subscription_from_row
from control_plane.storage.tables import (
    catalog,
    customer,
    override,
    resource,
    subscription,
    subscription_add_on,
)
from weighbridge.rules.catalog import (
    Customer,
    CustomerStatus,
    Override,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
)

T = TypeVar("T")
Grouped = dict[str, list[T]]

CUSTOMERS_PER_QUERY: Final = 500


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    """A customer, with what only administrators need of it."""

    customer: Customer
    name: str
    created_at_ms: int


def load_customers(connection: Connection, ids: Iterable[str]) -> list[Customer]:
    """Return those customers that exist, in the order they were asked for.

    Of each customer and resource it has the subscriptions that stand, one after the other, else the
    last one that was canceled.
    """
    return [record.customer for record in load_records(connection, ids)]


def customers_changed_since(connection: Connection, revision: int, limit: int) -> list[Customer]:
    """Return the customers with a version above the revision, oldest change first, at most limit.

    The version of the last one is where to go on from.
    """
    changed = connection.scalars(
        select(customer.c.id)
        .where(customer.c.version > revision)
        .order_by(customer.c.version)
        .limit(limit)
    )
    return load_customers(connection, changed.all())


def load_records(connection: Connection, ids: Iterable[str]) -> list[CustomerRecord]:
    """Return the records of those customers that exist, in the order they were asked for."""
    wanted = iter(dict.fromkeys(ids))
    records: list[CustomerRecord] = []
    while chunk := list(islice(wanted, CUSTOMERS_PER_QUERY)):
        records += _load_chunk(connection, chunk)
    return records


def _load_chunk(connection: Connection, ids: Sequence[str]) -> list[CustomerRecord]:
    asked = {"ids": list(ids)}
    resources: Grouped[str] = defaultdict(list)
    for row in connection.execute(_RESOURCES, asked):
        resources[row.customer_id].append(row.id)
    overrides: Grouped[Override] = defaultdict(list)
    for row in connection.execute(_OVERRIDES, asked):
        overrides[row.customer_id].append(override_from_row(row))
    subscriptions = _load_subscriptions(connection, asked)
    found = {
        row.id: CustomerRecord(
            Customer(
                id=row.id,
                version=row.version,
                status=CustomerStatus(row.status),
                catalog=row.catalog_id,
                catalog_version_min=row.current_version,
                catalog_addition_min=row.addition,
                resources=tuple(resources[row.id]),
                subscriptions=tuple(subscriptions[row.id]),
                overrides=tuple(overrides[row.id]),
                parent=row.parent_id or "",
            ),
            name=row.name,
            created_at_ms=row.created_at_ms,
        )
        for row in connection.execute(_CUSTOMERS, asked)
    }
    return [found[customer_id] for customer_id in ids if customer_id in found]


def _load_subscriptions(
    connection: Connection, asked: dict[str, list[str]]
) -> Grouped[Subscription]:
    add_ons: Grouped[SubscribedAddOn] = defaultdict(list)
    for row in connection.execute(_ADD_ONS, asked):
        add_ons[row.subscription_id].append(SubscribedAddOn(row.add_on_id, row.quantity))
    grouped: Grouped[Subscription] = defaultdict(list)
    for row in connection.execute(_SUBSCRIPTIONS, asked):
        grouped[row.customer_id].append(subscription_from_row(row, tuple(add_ons[row.id])))
    return grouped


# Built once: putting a statement together costs more than running it.

_IDS: Final[BindParameter[list[str]]] = bindparam("ids", expanding=True)


def _last_subscriptions() -> Subquery:
    """Select, per customer and resource, what stands, else the one that was canceled last."""
    table = subscription
    stands = table.c.status != SubscriptionStatus.CANCELED.value
    newest_first = (
        case((stands, 0), else_=1),
        table.c.created_at_ms.desc(),
        # Ids count up; the longer one is the higher number.
        func.length(table.c.id).desc(),
        table.c.id.desc(),
    )
    rank = func.row_number().over(
        partition_by=(table.c.customer_id, table.c.resource_id), order_by=newest_first
    )
    ranked = select(table, rank.label("rank")).where(table.c.customer_id.in_(_IDS)).subquery()
    still_stands = ranked.c.status != SubscriptionStatus.CANCELED.value
    return select(ranked).where(or_(ranked.c.rank == 1, still_stands)).subquery()


_LAST: Final = _last_subscriptions()
_SUBSCRIPTIONS: Final = select(_LAST).order_by(_LAST.c.resource_id, _LAST.c.starts_at_ms)
_ADD_ONS: Final = (
    select(subscription_add_on)
    .where(subscription_add_on.c.subscription_id.in_(select(_LAST.c.id)))
    .order_by(subscription_add_on.c.add_on_id)
)
_CUSTOMERS: Final = (
    select(customer, catalog.c.current_version, catalog.c.addition)
    .join(catalog, catalog.c.id == customer.c.catalog_id)
    .where(customer.c.id.in_(_IDS))
)
_RESOURCES: Final = select(resource).where(resource.c.customer_id.in_(_IDS)).order_by(resource.c.id)
_OVERRIDES: Final = (
    select(override)
    .where(override.c.customer_id.in_(_IDS))
    .order_by(override.c.resource_id, override.c.feature_id)
)
