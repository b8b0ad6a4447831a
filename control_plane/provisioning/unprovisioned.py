"""Customers that came by themselves: made with the first usage that is settled of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert

from control_plane.provisioning.revisions import next_revisions
from control_plane.provisioning.timeline import subscription_row
from control_plane.storage.tables import customer, subscription
from weighbridge.rules.catalog import Catalog, CustomerStatus
from weighbridge.rules.unprovisioned import default_subscription


def create_unprovisioned(
    connection: Connection, catalog: Catalog, ids: Sequence[str], now_ms: int
) -> None:
    """Make customers, none of which exists, on the default plan of the catalog.

    Each has a revision of its own, as if somebody had made it.
    """
    first = next_revisions(connection, len(ids), now_ms) - len(ids) + 1
    plan = replace(
        default_subscription(catalog.default_plan), starts_at_ms=now_ms, on_plan_since_ms=now_ms
    )
    customers = []
    subscriptions = []
    for version, id_ in enumerate(ids, first):
        customers.append(
            {
                "id": id_,
                "name": "",
                "catalog_id": catalog.id,
                "status": CustomerStatus.ACTIVE.value,
                "version": version,
                "created_at_ms": now_ms,
            }
        )
        own = replace(plan, id=f"sub-{version}")
        subscriptions.append(subscription_row(id_, own, now_ms))
    connection.execute(insert(customer), customers)
    connection.execute(insert(subscription), subscriptions)
