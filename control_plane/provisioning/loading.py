"""Customers from the database, many at once: the number of queries does not grow with theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import Connection, Subquery, case, func, select

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

    Of each customer and resource it has the active subscription, else the last one that ended.
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
    resources = _resources(connection, ids)
    subscriptions = _subscriptions(connection, ids)
    overrides = _overrides(connection, ids)
    query = (
        select(customer, catalog.c.current_version)
        .join(catalog, catalog.c.id == customer.c.catalog_id)
        .where(customer.c.id.in_(ids))
    )
    found = {
        row.id: CustomerRecord(
            Customer(
                id=row.id,
                version=row.version,
                status=CustomerStatus(row.status),
                catalog=row.catalog_id,
                catalog_version_min=row.current_version,
                resources=tuple(resources[row.id]),
                subscriptions=tuple(subscriptions[row.id]),
                overrides=tuple(overrides[row.id]),
            ),
            name=row.name,
            created_at_ms=row.created_at_ms,
        )
        for row in connection.execute(query)
    }
    return [found[customer_id] for customer_id in ids if customer_id in found]


def _resources(connection: Connection, ids: Sequence[str]) -> Grouped[str]:
    grouped: Grouped[str] = defaultdict(list)
    query = select(resource).where(resource.c.customer_id.in_(ids)).order_by(resource.c.id)
    for row in connection.execute(query):
        grouped[row.customer_id].append(row.id)
    return grouped


def _subscriptions(connection: Connection, ids: Sequence[str]) -> Grouped[Subscription]:
    last = _last_subscriptions(ids)
    add_ons: Grouped[SubscribedAddOn] = defaultdict(list)
    bought = subscription_add_on
    query = (
        select(bought)
        .where(bought.c.subscription_id.in_(select(last.c.id)))
        .order_by(bought.c.add_on_id)
    )
    for row in connection.execute(query):
        add_ons[row.subscription_id].append(SubscribedAddOn(row.add_on_id, row.quantity))
    grouped: Grouped[Subscription] = defaultdict(list)
    for row in connection.execute(select(last).order_by(last.c.resource_id)):
        grouped[row.customer_id].append(subscription_from_row(row, tuple(add_ons[row.id])))
    return grouped


def _last_subscriptions(ids: Sequence[str]) -> Subquery:
    """Select, per customer and resource, the active subscription, else the one that ended last."""
    table = subscription
    is_active = table.c.status == SubscriptionStatus.ACTIVE.value
    newest_first = (
        case((is_active, 0), else_=1),
        table.c.created_at_ms.desc(),
        # Ids count up; the longer one is the higher number.
        func.length(table.c.id).desc(),
        table.c.id.desc(),
    )
    rank = func.row_number().over(
        partition_by=(table.c.customer_id, table.c.resource_id), order_by=newest_first
    )
    ranked = select(table, rank.label("rank")).where(table.c.customer_id.in_(ids)).subquery()
    return select(ranked).where(ranked.c.rank == 1).subquery()


def _overrides(connection: Connection, ids: Sequence[str]) -> Grouped[Override]:
    grouped: Grouped[Override] = defaultdict(list)
    query = (
        select(override)
        .where(override.c.customer_id.in_(ids))
        .order_by(override.c.resource_id, override.c.feature_id)
    )
    for row in connection.execute(query):
        grouped[row.customer_id].append(override_from_row(row))
    return grouped
