"""Subscriptions that stand and are paused, or past due, for a while."""

from __future__ import annotations

from sqlalchemy import Connection

from control_plane.provisioning.changing import (
    load_record,
    require_customer,
    require_resource,
    take_version,
)
from control_plane.provisioning.checks import require_instant
from control_plane.provisioning.loading import CustomerRecord
from control_plane.provisioning.timeline import load_timeline, require_current, set_row
from weighbridge.rules.catalog import SubscriptionStatus
from weighbridge.rules.errors import InvalidArgumentError


def set_subscription_status(
    connection: Connection,
    owned: tuple[str, str],
    status: SubscriptionStatus,
    until_ms: int | None,
    now_ms: int,
) -> CustomerRecord:
    """Pause the subscription of a (customer, resource), mark it past due, or make it active again.

    What is to come after it gets the same status. Setting it again as it is changes nothing.
    """
    customer_id, resource_id = owned
    require_customer(connection, "customer", customer_id)
    require_resource(connection, customer_id, resource_id)
    _require_sound(status, until_ms)
    current = require_current(connection, customer_id, resource_id, now_ms)
    if (current.status, current.status_until_ms) != (status, until_ms):
        take_version(connection, customer_id, now_ms)
        coming = load_timeline(connection, customer_id, resource_id, now_ms).coming
        for each in (current, *coming):
            set_row(connection, each, {"status": status.value, "status_until_ms": until_ms})
    return load_record(connection, customer_id)


def _require_sound(status: SubscriptionStatus, until_ms: int | None) -> None:
    if status is SubscriptionStatus.CANCELED:
        raise InvalidArgumentError("status", "is canceled; cancel the subscription instead")
    if until_ms is not None:
        require_instant("until_unix_ms", until_ms)
        if status is SubscriptionStatus.ACTIVE:
            raise InvalidArgumentError(
                "until_unix_ms", "cannot be given: active has no end; leave it"
            )
    elif status is SubscriptionStatus.PAST_DUE:
        raise InvalidArgumentError("until_unix_ms", "is not set; say when the grace ends")
