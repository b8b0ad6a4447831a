"""Events that other systems sent: each is taken once, and what could not be applied is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, select, tuple_, update

from control_plane.storage.import_tables import import_event
from weighbridge.rules.errors import InvalidArgumentError, NotFoundError

REASON_LENGTH_MAX: Final = 512
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
KEPT_MS: Final = 90 * 86_400_000
"""How long events are known that were taken: far longer than anybody sends them again."""

PRUNED_MAX: Final = 1_000


class EventState(Enum):
    """What became of an event."""

    APPLIED = "applied"
    IGNORED = "ignored"
    SET_ASIDE = "set_aside"


class Taken(NamedTuple):
    """What became of an event, why, and of whom it was ("": nobody who is known)."""

    state: EventState
    reason: str = ""
    customer: str = ""


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """An event that is what it says: its signature was checked. `payload` is its JSON."""

    source: str
    id: str
    type: str
    created_at_ms: int
    payload: str


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event that came, and what became of it."""

    event: IncomingEvent
    received_at_ms: int
    taken: Taken


def find_event(connection: Connection, source: str, event_id: str) -> KnownEvent | None:
    """Return an event that came."""
    row = connection.execute(select(import_event).where(*_is(source, event_id))).one_or_none()
    return None if row is None else _event_from_row(row)


def require_event(connection: Connection, source: str, event_id: str) -> KnownEvent:
    """Return an event that came. Raises NotFoundError."""
    found = find_event(connection, source, event_id)
    if found is None:
        raise NotFoundError(f"no event {event_id!r} of {source} has come, or not lately")
    return found


def note_event(connection: Connection, event: IncomingEvent, taken: Taken, now_ms: int) -> None:
    """Note what became of an event: of one that was set aside before, what becomes of it now."""
    is_aside = taken.state is EventState.SET_ASIDE
    values: dict[str, Any] = {
        "state": taken.state.value,
        "reason": taken.reason[:REASON_LENGTH_MAX],
        "customer_id": taken.customer,
        # What was applied is in the tables; whom it names is nobody's business any more.
        "payload": event.payload if is_aside else "",
    }
    table = update(import_event).where(*_is(event.source, event.id))
    if connection.execute(table.values(values)).rowcount:
        return
    connection.execute(
        insert(import_event).values(
            source=event.source,
            event_id=event.id,
            type=event.type,
            created_at_ms=event.created_at_ms,
            received_at_ms=now_ms,
            **values,
        )
    )


def list_events(
    connection: Connection, state: EventState | None, page_size: int, page_token: str
) -> tuple[list[KnownEvent], str]:
    """Return a page, oldest first, and where the next one begins ("" after the last)."""
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{page_size} is not 0 to {PAGE_SIZE_MAX}")
    table, size = import_event.c, page_size or PAGE_SIZE_DEFAULT
    order = (table.received_at_ms, table.source, table.event_id)
    query = select(import_event).order_by(*order).limit(size + 1)
    if state is not None:
        query = query.where(table.state == state.value)
    if page_token:
        query = query.where(tuple_(*order) > tuple_(*_after(page_token)))
    found = [_event_from_row(row) for row in connection.execute(query)]
    page = found[:size]
    token = ""
    if len(found) > size:
        last = page[-1]
        token = f"{last.received_at_ms} {last.event.source} {last.event.id}"
    return page, token


def prune_events(connection: Connection, now_ms: int) -> int:
    """Forget a page of events taken long ago; what is set aside stays."""
    table = import_event.c
    old = connection.execute(
        select(table.source, table.event_id)
        .where(
            table.state.in_([EventState.APPLIED.value, EventState.IGNORED.value]),
            table.received_at_ms < now_ms - KEPT_MS,
        )
        .limit(PRUNED_MAX)
    ).all()
    for row in old:
        connection.execute(delete(import_event).where(*_is(row.source, row.event_id)))
    return len(old)


def _is(source: str, event_id: str) -> tuple[Any, Any]:
    return import_event.c.source == source, import_event.c.event_id == event_id


def _after(token: str) -> tuple[int, str, str]:
    received, _, rest = token.partition(" ")
    source, blank, event_id = rest.partition(" ")
    if not (blank and received.isdecimal() and len(received) <= 18):  # noqa: PLR2004 - fits 64 bits
        raise InvalidArgumentError("page_token", "is not one that a page came with")
    return int(received), source, event_id


def _event_from_row(row: Row[Any]) -> KnownEvent:
    event = IncomingEvent(row.source, row.event_id, row.type, row.created_at_ms, row.payload)
    taken = Taken(EventState(row.state), row.reason, row.customer_id)
    return KnownEvent(event, row.received_at_ms, taken)
