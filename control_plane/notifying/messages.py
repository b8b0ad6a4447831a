"""The outbox: a message is written in the transaction of what it tells of, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, insert, select

from control_plane.notifying.event_types import EventType
from control_plane.storage.webhook_tables import (
    webhook_delivery,
    webhook_endpoint,
    webhook_message,
)

PAYLOAD_VERSION: Final = 1
GIVE_UP_AFTER_MS: Final = 3 * 24 * 3_600_000
"""How long a message is tried for, after which it is a dead letter."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell. `data` are plain values, of that type's shape."""

    event_type: EventType
    customer: str
    occurred_at_ms: int
    data: Mapping[str, Any]


class _Written(NamedTuple):
    id: str
    message: Message
    body: str


def tell(connection: Connection, messages: Sequence[Message], now_ms: int) -> None:
    """Write messages for every endpoint that wants their type; where none does, nothing.

    The same message told again is the one that was: its id comes from what it says.
    """
    if not messages:
        return
    table = webhook_endpoint.c
    wanted = connection.execute(select(table.id, table.event_types)).all()
    for message in messages:
        endpoints = [
            row.id
            for row in wanted
            if not row.event_types or message.event_type.value in row.event_types
        ]
        if endpoints:
            write(connection, message, endpoints, now_ms)


def is_wanted(connection: Connection, event_type: EventType) -> bool:
    """Whether any endpoint is told of the type."""
    wanted = connection.scalars(select(webhook_endpoint.c.event_types))
    return any(not types or event_type.value in types for types in wanted)


def write(connection: Connection, message: Message, endpoints: Iterable[str], now_ms: int) -> str:
    """Write a message for some endpoints; return its id."""
    written = _written(message)
    table = webhook_message.c
    known = select(table.id).where(table.id == written.id)
    if connection.execute(known).one_or_none() is not None:
        return written.id
    row = {
        "id": written.id,
        "event_type": message.event_type.value,
        "customer_id": message.customer,
        "body": written.body,
        "created_at_ms": now_ms,
    }
    connection.execute(insert(webhook_message).values(row))
    connection.execute(
        insert(webhook_delivery),
        [_delivery_row(endpoint, written.id, now_ms) for endpoint in endpoints],
    )
    return written.id


def instant_text(at_ms: int | None) -> str | None:
    """Return an instant as receivers read it: `2026-11-24T00:00:00.000Z`."""
    if at_ms is None:
        return None
    at = datetime.fromtimestamp(at_ms // 1_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def body_of(message: Message) -> str:
    """Return a message as it is sent."""
    return json.dumps(
        {
            "type": message.event_type.value,
            "version": PAYLOAD_VERSION,
            "timestamp": instant_text(message.occurred_at_ms),
            "data": {"customer": message.customer, **message.data},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _written(message: Message) -> _Written:
    body = body_of(message)
    return _Written(f"msg_{hashlib.sha256(body.encode()).hexdigest()[:40]}", message, body)


def _delivery_row(endpoint: str, message: str, now_ms: int) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint,
        "message_id": message,
        "state": "pending",
        "attempts": 0,
        "next_at_ms": now_ms,
        "give_up_at_ms": now_ms + GIVE_UP_AFTER_MS,
        "claimed_by": "",
        "claimed_until_ms": 0,
        "error": "",
        "created_at_ms": now_ms,
    }
