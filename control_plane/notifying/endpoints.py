"""Endpoints: who is told, of what, and the secret that messages to them are signed with."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from control_plane.notifying.event_types import EventType
from control_plane.notifying.messages import Message, write
from control_plane.storage.webhook_tables import webhook_delivery, webhook_endpoint
from weighbridge.rules.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from weighbridge.rules.units import require_id

ENDPOINTS_MAX: Final = 100
URL_LENGTH_MAX: Final = 2_048
FORMER_SECRET_MS: Final = 24 * 3_600_000
"""How long the secret of before signs as well, after it was changed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is told; `event_types` empty: of everything. Paused: what comes waits."""

    id: str
    url: str
    event_types: tuple[str, ...] = ()
    is_paused: bool = False
    created_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class ListedEndpoint:
    """An endpoint, and how many of its deliveries are in which state."""

    endpoint: Endpoint
    pending: int
    dead: int


def create_endpoint(connection: Connection, new: Endpoint, secret: str, now_ms: int) -> Endpoint:
    """Make an endpoint. Raises InvalidArgumentError, AlreadyExistsError."""
    require_id("id", new.id)
    _require_sound(new)
    table = webhook_endpoint
    if _find(connection, new.id) is not None:
        raise AlreadyExistsError(f"endpoint {new.id!r} exists; update it, or take another id")
    if connection.execute(select(func.count()).select_from(table)).scalar_one() >= ENDPOINTS_MAX:
        raise ResourceExhaustedError(f"there are {ENDPOINTS_MAX} endpoints; delete one first")
    connection.execute(
        insert(table).values(
            id=new.id,
            url=new.url,
            secret=secret,
            event_types=list(new.event_types),
            is_paused=new.is_paused,
            created_at_ms=now_ms,
        )
    )
    return require_endpoint(connection, new.id)


def update_endpoint(connection: Connection, wanted: Endpoint) -> Endpoint:
    """Set an endpoint's url, types and pause. Raises InvalidArgumentError, NotFoundError."""
    require_endpoint(connection, wanted.id)
    _require_sound(wanted)
    connection.execute(
        update(webhook_endpoint)
        .where(webhook_endpoint.c.id == wanted.id)
        .values(url=wanted.url, event_types=list(wanted.event_types), is_paused=wanted.is_paused)
    )
    return require_endpoint(connection, wanted.id)


def rotate_secret(connection: Connection, id_: str, secret: str, now_ms: int) -> Endpoint:
    """Sign with another secret; for a day, with the one of before as well."""
    found = require_endpoint(connection, id_)
    table = webhook_endpoint.c
    connection.execute(
        update(webhook_endpoint)
        .where(table.id == id_)
        .values(
            former_secret=table.secret, former_until_ms=now_ms + FORMER_SECRET_MS, secret=secret
        )
    )
    return found


def delete_endpoint(connection: Connection, id_: str) -> None:
    """Remove an endpoint with all that was to be delivered to it. Raises NotFoundError."""
    require_endpoint(connection, id_)
    connection.execute(delete(webhook_delivery).where(webhook_delivery.c.endpoint_id == id_))
    connection.execute(delete(webhook_endpoint).where(webhook_endpoint.c.id == id_))


def list_endpoints(connection: Connection) -> list[ListedEndpoint]:
    """Return every endpoint, by id."""
    table = webhook_delivery.c
    counts: dict[tuple[str, str], int] = {}
    for endpoint, state, count in connection.execute(
        select(table.endpoint_id, table.state, func.count())
        .where(table.state != "delivered")
        .group_by(table.endpoint_id, table.state)
    ):
        counts[endpoint, state] = count
    rows = connection.execute(select(webhook_endpoint).order_by(webhook_endpoint.c.id))
    return [
        ListedEndpoint(
            _endpoint(row), counts.get((row.id, "pending"), 0), counts.get((row.id, "dead"), 0)
        )
        for row in rows
    ]


def send_test(connection: Connection, id_: str, now_ms: int) -> str:
    """Tell an endpoint, whatever its types are, that this is a test; return the message's id."""
    require_endpoint(connection, id_)
    message = Message(EventType.WEBHOOK_TEST, "", now_ms, {"endpoint": id_})
    return write(connection, message, [id_], now_ms)


def require_endpoint(connection: Connection, id_: str) -> Endpoint:
    """Return an endpoint. Raises NotFoundError."""
    found = _find(connection, id_)
    if found is None:
        raise NotFoundError(f"endpoint {id_!r} does not exist; see `webhook endpoints list`")
    return found


def require_url(field: str, url: str) -> str:
    """Return a URL to call: https, or http on this machine's loopback.

    Raises InvalidArgumentError. What is said to others must not pass a network in the clear.
    """
    if len(url) > URL_LENGTH_MAX:
        raise InvalidArgumentError(field, f"is longer than {URL_LENGTH_MAX}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or port == 0 or not url.isascii() or any(letter <= " " for letter in url):
        raise InvalidArgumentError(field, "is no URL, such as https://billing.example.com/hooks")
    if parts.username is not None or parts.fragment:
        raise InvalidArgumentError(field, "has a user or a fragment; leave them out")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return url
    raise InvalidArgumentError(field, "is not https; http is for loopback addresses only")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_sound(endpoint: Endpoint) -> None:
    require_url("url", endpoint.url)
    _require_types(endpoint.event_types)


def _require_types(types: Sequence[str]) -> None:
    known = [each.value for each in EventType]
    for position, each in enumerate(types):
        if each not in known:
            problem = f"{each!r} is no type of event; there are {', '.join(known)}"
            raise InvalidArgumentError(f"event_types[{position}]", problem)
        if each in types[:position]:
            raise InvalidArgumentError(f"event_types[{position}]", f"{each!r} is there twice")


def _find(connection: Connection, id_: str) -> Endpoint | None:
    query = select(webhook_endpoint).where(webhook_endpoint.c.id == id_)
    row = connection.execute(query).one_or_none()
    return None if row is None else _endpoint(row)


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(row.id, row.url, tuple(row.event_types), row.is_paused, row.created_at_ms)
