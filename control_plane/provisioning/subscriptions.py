"""Subscriptions: which plan a customer or resource is on. At most one is active on each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import (
    load_record,
    owner,
    require_customer,
    require_resource,
    take_version,
)
from control_plane.provisioning.checks import (
    ADD_ONS_MAX,
    named_few,
    require_distinct,
    require_few,
    require_instant,
)
from control_plane.provisioning.loading import CustomerRecord
from control_plane.provisioning.rows import subscription_from_row
from control_plane.provisioning.versions import carry_version
from control_plane.storage.tables import subscription, subscription_add_on
from weighbridge.rules.catalog import (
    Catalog,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.units import QUANTITY_MAX, require_id


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """A plan to be on.

    No `plan_version`: as before on the plan it is on, else it follows the plan. No `anchor_ms`:
    that of the subscription it replaces, else now.
    """

    customer: str
    plan: str
    resource: str = ""
    plan_version: int | None = None
    add_ons: tuple[SubscribedAddOn, ...] = ()
    anchor_ms: int | None = None


def set_subscription(
    connection: Connection, library: CatalogLibrary, wanted: WantedSubscription, now_ms: int
) -> CustomerRecord:
    """Put a customer or resource on a plan and end the subscription that was active.

    Being on that plan already, with the same add-ons and anchor, changes nothing.
    """
    row = require_customer(connection, "customer", wanted.customer)
    require_resource(connection, wanted.customer, wanted.resource)
    catalog = library.load(connection, row.catalog_id)
    require_offered(catalog, wanted)
    before = active_subscription(connection, wanted.customer, wanted.resource)
    since_ms = now_ms
    if before is not None:
        if wanted.anchor_ms is None:
            wanted = replace(wanted, anchor_ms=before.anchor_ms)
        if wanted.plan == before.plan and wanted.plan_version in (None, before.plan_version):
            wanted = replace(wanted, plan_version=before.plan_version)
            since_ms = before.since_ms
    if before is None or not _is_the_same(before, wanted):
        if wanted.plan_version is not None:
            carry_version(connection, library, catalog, wanted.plan, wanted.plan_version)
        version = take_version(connection, wanted.customer, now_ms)
        if before is not None:
            _end(connection, before.id, now_ms)
        insert_subscription(connection, wanted, version, since_ms, now_ms)
    return load_record(connection, wanted.customer)


def cancel_subscription(
    connection: Connection, customer_id: str, resource_id: str, now_ms: int
) -> CustomerRecord:
    """End the active subscription of a customer or resource now."""
    require_customer(connection, "customer", customer_id)
    require_resource(connection, customer_id, resource_id)
    active = require_active(connection, customer_id, resource_id)
    take_version(connection, customer_id, now_ms)
    _end(connection, active.id, now_ms)
    return load_record(connection, customer_id)


def active_subscription(
    connection: Connection, customer_id: str, resource_id: str
) -> Subscription | None:
    """Return the active subscription of a customer ("" resource) or resource."""
    query = select(subscription).where(
        subscription.c.customer_id == customer_id,
        subscription.c.resource_id == resource_id,
        subscription.c.status == SubscriptionStatus.ACTIVE.value,
    )
    row: Row[Any] | None = connection.execute(query).one_or_none()
    if row is None:
        return None
    bought = subscription_add_on
    add_ons = connection.execute(
        select(bought.c.add_on_id, bought.c.quantity)
        .where(bought.c.subscription_id == row.id)
        .order_by(bought.c.add_on_id)
    )
    return subscription_from_row(row, tuple(SubscribedAddOn(*add_on) for add_on in add_ons))


def require_active(connection: Connection, customer_id: str, resource_id: str) -> Subscription:
    """Return the active subscription of a customer or resource. Raises NotFoundError."""
    active = active_subscription(connection, customer_id, resource_id)
    if active is None:
        raise NotFoundError(f"{owner(customer_id, resource_id)} has no active subscription")
    return active


def require_offered(catalog: Catalog, wanted: WantedSubscription) -> None:
    """Check the wish itself, then that the catalog has the plan and the add-ons."""
    require_id("plan", wanted.plan)
    if wanted.anchor_ms is not None:
        require_instant("anchor_unix_ms", wanted.anchor_ms)
    require_few("add_ons", wanted.add_ons, ADD_ONS_MAX)
    for index, add_on in enumerate(wanted.add_ons):
        require_id(f"add_ons[{index}].add_on", add_on.add_on)
        if not 1 <= add_on.quantity <= QUANTITY_MAX:
            raise InvalidArgumentError(
                f"add_ons[{index}].quantity", f"{add_on.quantity} is not 1 to {QUANTITY_MAX}"
            )
    require_distinct("add_ons", (add_on.add_on for add_on in wanted.add_ons))
    if catalog.plan(wanted.plan) is None:
        raise NotFoundError(
            f"plan {wanted.plan!r} is not in catalog {catalog.id!r}; "
            f"it has {named_few(catalog.plans)}"
        )
    for subscribed in wanted.add_ons:
        _require_add_on(catalog, subscribed.add_on, wanted.plan)


def _require_add_on(catalog: Catalog, add_on_id: str, plan: str) -> None:
    add_on = catalog.add_ons.get(add_on_id)
    if add_on is None:
        raise NotFoundError(
            f"add-on {add_on_id!r} is not in catalog {catalog.id!r}; "
            f"it has {named_few(catalog.add_ons)}"
        )
    if not add_on.suits(plan):
        raise FailedPreconditionError(
            f"add-on {add_on_id!r} cannot be added to plan {plan!r}, only to "
            f"{named_few(add_on.plans)}"
        )


def _is_the_same(active: Subscription, wanted: WantedSubscription) -> bool:
    add_ons = tuple(sorted(wanted.add_ons, key=lambda add_on: add_on.add_on))
    return (
        active.plan == wanted.plan
        and active.plan_version == wanted.plan_version
        and active.add_ons == add_ons
        and wanted.anchor_ms in (None, active.anchor_ms)
    )


def _end(connection: Connection, subscription_id: str, now_ms: int) -> None:
    connection.execute(
        update(subscription)
        .where(subscription.c.id == subscription_id)
        .values(status=SubscriptionStatus.CANCELED.value, ends_at_ms=now_ms)
    )


def insert_subscription(
    connection: Connection,
    wanted: WantedSubscription,
    version: int,
    since_ms: int,
    now_ms: int,
) -> None:
    """Insert what is checked, as part of that version, on its plan since `since_ms`."""
    subscription_id = f"sub-{version}"
    values = {
        "id": subscription_id,
        "customer_id": wanted.customer,
        "resource_id": wanted.resource,
        "plan_id": wanted.plan,
        "plan_version": wanted.plan_version,
        "status": SubscriptionStatus.ACTIVE.value,
        "anchor_ms": now_ms if wanted.anchor_ms is None else wanted.anchor_ms,
        "starts_at_ms": now_ms,
        "on_plan_since_ms": since_ms,
        "created_at_ms": now_ms,
    }
    connection.execute(insert(subscription).values(values))
    rows = [
        {
            "subscription_id": subscription_id,
            "add_on_id": add_on.add_on,
            "quantity": add_on.quantity,
        }
        for add_on in wanted.add_ons
    ]
    if rows:
        connection.execute(insert(subscription_add_on), rows)
