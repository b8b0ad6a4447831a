"""Orders that a provider is asked for: claimed by one control plane at a time, until answered."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from control_plane.crediting.ordering import REASON_LENGTH_MAX
from control_plane.crediting.top_up_rows import TopUpOrder, order_from_row
from control_plane.storage.top_up_tables import top_up_order
from weighbridge.rules.top_up import OrderState

CLAIMED_PER_STEP = 16


def claim_orders(
    connection: Connection, claimant: str, claim_ms: int, now_ms: int
) -> list[TopUpOrder]:
    """Claim orders to ask for. A try is counted before it is made: it may come to pass."""
    table = top_up_order.c
    rows = connection.execute(
        select(top_up_order)
        .where(
            table.state == OrderState.REQUESTED.value,
            table.next_at_ms <= now_ms,
            table.claimed_until_ms <= now_ms,
        )
        .order_by(table.next_at_ms, table.id)
        .limit(CLAIMED_PER_STEP)
        .with_for_update(skip_locked=True)
    ).all()
    connection.execute(
        update(top_up_order)
        .where(table.id.in_([row.id for row in rows]))
        .values(
            attempts=table.attempts + 1,
            claimed_by=claimant,
            claimed_until_ms=now_ms + claim_ms,
        )
    )
    return [order_from_row(row) for row in rows]


def put_off(
    connection: Connection, order: str, claimant: str, reason: str, next_at_ms: int
) -> None:
    """Have an order asked for again, because it is not known whether it is paid."""
    table = top_up_order.c
    connection.execute(
        update(top_up_order)
        .where(
            table.id == order,
            table.claimed_by == claimant,
            table.state == OrderState.REQUESTED.value,
        )
        .values(
            reason=reason[:REASON_LENGTH_MAX],
            next_at_ms=next_at_ms,
            claimed_by="",
            claimed_until_ms=0,
        )
    )


def has_due_orders(connection: Connection, now_ms: int) -> bool:
    """Whether there is an order to ask for."""
    table = top_up_order.c
    query = select(table.id).where(
        table.state == OrderState.REQUESTED.value,
        table.next_at_ms <= now_ms,
        table.claimed_until_ms <= now_ms,
    )
    return connection.execute(query.limit(1)).one_or_none() is not None
