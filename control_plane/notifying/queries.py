"""What administrators read of deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from control_plane.notifying.deliveries import DeliveryState
from control_plane.storage.webhook_tables import webhook_delivery, webhook_message


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message at an endpoint, for people."""

    endpoint: str
    message: str
    event_type: str
    customer: str
    state: DeliveryState
    attempts: int
    status_code: int | None
    error: str
    created_at_ms: int
    next_at_ms: int
    ended_at_ms: int | None
    body: str


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """Which deliveries to list, newest first: "" and None are any."""

    endpoint: str = ""
    state: DeliveryState | None = None
    event_type: str = ""
    customer: str = ""
    page_size: int = 100
    # The creation and ids of the last one of the page before.
    after: tuple[int, str, str] | None = None


def list_deliveries(connection: Connection, query: DeliveryQuery) -> list[Delivery]:
    """Return a page of deliveries, newest first."""
    table, message = webhook_delivery.c, webhook_message.c
    order = (table.created_at_ms.desc(), table.endpoint_id, table.message_id)
    wanted = (
        select(webhook_delivery, message.event_type, message.customer_id, message.body)
        .join_from(webhook_delivery, webhook_message, message.id == table.message_id)
        .where(*_conditions(query))
        .order_by(*order)
        .limit(query.page_size)
    )
    return [_delivery(row) for row in connection.execute(wanted)]


def _conditions(query: DeliveryQuery) -> list[ColumnElement[bool]]:
    table, message = webhook_delivery.c, webhook_message.c
    conditions: list[ColumnElement[bool]] = []
    if query.endpoint:
        conditions.append(table.endpoint_id == query.endpoint)
    if query.state is not None:
        conditions.append(table.state == query.state.value)
    if query.event_type:
        conditions.append(message.event_type == query.event_type)
    if query.customer:
        conditions.append(message.customer_id == query.customer)
    if query.after is not None:
        at_ms, endpoint, id_ = query.after
        is_same = table.created_at_ms == at_ms
        is_later = (table.endpoint_id > endpoint) | (
            (table.endpoint_id == endpoint) & (table.message_id > id_)
        )
        conditions.append((table.created_at_ms < at_ms) | (is_same & is_later))
    return conditions


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        endpoint=row.endpoint_id,
        message=row.message_id,
        event_type=row.event_type,
        customer=row.customer_id,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        status_code=row.status_code,
        error=row.error,
        created_at_ms=row.created_at_ms,
        next_at_ms=row.next_at_ms,
        ended_at_ms=row.ended_at_ms,
        body=row.body,
    )
