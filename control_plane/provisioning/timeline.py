"""The subscriptions of a customer or resource as they follow one another, in the database."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, select, update

from control_plane.provisioning.changing import owner
from control_plane.provisioning.rows import subscription_from_row
from control_plane.storage.billing_tables import subscription_before
from control_plane.storage.tables import subscription, subscription_add_on
from weighbridge.rules.catalog import SubscribedAddOn, Subscription, SubscriptionStatus
from weighbridge.rules.errors import NotFoundError

CANCELED = SubscriptionStatus.CANCELED.value


class Timeline(NamedTuple):
    """What stands now and what is to come; paused or past due, it stands all the same."""

    current: Subscription | None
    coming: tuple[Subscription, ...]


def load_timeline(
    connection: Connection, customer_id: str, resource_id: str, now_ms: int
) -> Timeline:
    """Return the subscriptions of a customer ("" resource) or resource that are not over."""
    query = (
        select(subscription)
        .where(
            subscription.c.customer_id == customer_id,
            subscription.c.resource_id == resource_id,
            subscription.c.status != CANCELED,
        )
        .order_by(subscription.c.starts_at_ms)
    )
    found = [
        each
        for row in connection.execute(query).all()
        if (each := _with_add_ons(connection, row)).ends_at_ms is None or now_ms < each.ends_at_ms
    ]
    begun = [each for each in found if each.starts_at_ms <= now_ms]
    coming = tuple(each for each in found if each.starts_at_ms > now_ms)
    return Timeline(begun[-1] if begun else None, coming)


def require_current(
    connection: Connection, customer_id: str, resource_id: str, now_ms: int
) -> Subscription:
    """Return the subscription that stands now. Raises NotFoundError."""
    current = load_timeline(connection, customer_id, resource_id, now_ms).current
    if current is None:
        raise NotFoundError(f"{owner(customer_id, resource_id)} has no active subscription")
    return current


def close_ended(connection: Connection, customer_id: str, resource_id: str, now_ms: int) -> None:
    """Put down as canceled what came to its end, because something else takes its place."""
    connection.execute(
        update(subscription)
        .where(
            subscription.c.customer_id == customer_id,
            subscription.c.resource_id == resource_id,
            subscription.c.status != CANCELED,
            subscription.c.ends_at_ms <= now_ms,
        )
        .values(status=CANCELED)
    )


def end_subscription(connection: Connection, current: Subscription, now_ms: int) -> None:
    """End a subscription now."""
    set_row(connection, current, {"status": CANCELED, "ends_at_ms": now_ms})


def set_row(connection: Connection, of: Subscription, values: dict[str, int | str | None]) -> None:
    """Change the row of a subscription."""
    connection.execute(update(subscription).where(subscription.c.id == of.id).values(**values))


def keep_before(connection: Connection, of: Subscription, until_ms: int) -> None:
    """Note what a subscription was on until now: statements charge it so."""
    before = subscription_before
    key = (before.c.subscription_id == of.id, before.c.until_ms == until_ms)
    if connection.execute(select(before.c.until_ms).where(*key)).first() is None:
        connection.execute(
            insert(before).values(
                subscription_id=of.id,
                until_ms=until_ms,
                plan_version=of.plan_version,
                on_plan_since_ms=of.since_ms,
            )
        )


def was_on_plan(connection: Connection, customer_id: str, resource_id: str, plan: str) -> bool:
    """Whether a customer ("" resource) or resource ever had a subscription to the plan."""
    query = select(subscription.c.id).where(
        subscription.c.customer_id == customer_id,
        subscription.c.resource_id == resource_id,
        subscription.c.plan_id == plan,
    )
    return connection.execute(query.limit(1)).first() is not None


def drop_coming(connection: Connection, coming: tuple[Subscription, ...]) -> None:
    """Remove subscriptions that never began."""
    ids = [each.id for each in coming]
    bought = subscription_add_on
    connection.execute(delete(bought).where(bought.c.subscription_id.in_(ids)))
    connection.execute(delete(subscription).where(subscription.c.id.in_(ids)))


def insert_row(connection: Connection, customer_id: str, new: Subscription, now_ms: int) -> None:
    """Insert a subscription."""
    connection.execute(insert(subscription).values(subscription_row(customer_id, new, now_ms)))
    rows = [
        {"subscription_id": new.id, "add_on_id": each.add_on, "quantity": each.quantity}
        for each in new.add_ons
    ]
    if rows:
        connection.execute(insert(subscription_add_on), rows)


def subscription_row(customer_id: str, new: Subscription, now_ms: int) -> dict[str, Any]:
    """Return the row of a subscription."""
    return {
        "id": new.id,
        "customer_id": customer_id,
        "resource_id": new.resource,
        "plan_id": new.plan,
        "plan_version": new.plan_version,
        "status": new.status.value,
        "status_until_ms": new.status_until_ms,
        "anchor_ms": new.anchor_ms,
        "starts_at_ms": new.starts_at_ms,
        "ends_at_ms": new.ends_at_ms,
        "on_plan_since_ms": new.since_ms,
        "is_trial": new.is_trial,
        "quantity": new.quantity,
        "created_at_ms": now_ms,
    }


def _with_add_ons(connection: Connection, row: Row[Any]) -> Subscription:
    bought = subscription_add_on
    add_ons = connection.execute(
        select(bought.c.add_on_id, bought.c.quantity)
        .where(bought.c.subscription_id == row.id)
        .order_by(bought.c.add_on_id)
    )
    return subscription_from_row(row, tuple(SubscribedAddOn(*add_on) for add_on in add_ons))
