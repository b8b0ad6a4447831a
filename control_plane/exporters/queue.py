"""Items that wait: taken in batches, noted before they are sent, and what became of them after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, func, select, update

from control_plane.exporters.config import ExporterConfig
from control_plane.exporters.items import Item, ItemState, Outcome, Target
from control_plane.storage.export_tables import export_item, external_id
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from weighbridge.rules.matching import Match

ERROR_LENGTH_MAX: Final = 512
BACKOFF_MS_MIN: Final = 1_000
BACKOFF_MS_MAX: Final = 600_000
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000


class Doubts(NamedTuple):
    """When a second sending no longer counts once, and what negative adjustments are told."""

    takes_negative: bool
    window_ms: int | None


def take_due(
    connection: Connection, config: ExporterConfig, target: Target, now_ms: int
) -> list[Item]:
    """Return a batch of items to send, noted as tried: after a crash they are sent again, alike.

    Items that were tried together before stay together. Items that cannot be sent are put aside.
    """
    table = export_item.c
    due = and_(
        table.exporter == config.id,
        table.state == ItemState.PENDING.value,
        table.next_at_ms <= now_ms,
    )
    rows = connection.execute(
        select(export_item)
        .where(due)
        .order_by(table.batch.desc(), table.id)
        .limit(config.batch_max)
    ).all()
    if not rows:
        return []
    tried = [row for row in rows if row.batch]
    if tried:
        # One batch again as it was, whatever else is due.
        rows = connection.execute(
            select(export_item)
            .where(
                table.exporter == config.id,
                table.batch == tried[0].batch,
                table.state == ItemState.PENDING.value,
            )
            .order_by(table.id)
        ).all()
    items = _sendable(connection, [_item(row) for row in rows], target, now_ms)
    if not items:
        return []
    batch = items[0].batch or _next_batch(connection, config.id)
    for item in items:
        connection.execute(
            update(export_item)
            .where(table.id == item.id)
            .values(
                batch=batch,
                attempts=item.attempts + 1,
                first_tried_at_ms=item.first_tried_at_ms or now_ms,
            )
        )
    return [replace(item, batch=batch, attempts=item.attempts + 1) for item in items]


def note_outcomes(
    connection: Connection,
    config: ExporterConfig,
    items: Sequence[Item],
    outcomes: Mapping[int, Outcome],
    now_ms: int,
) -> None:
    """Note what became of a batch. What is to be tried again waits, longer each time."""
    for item in items:
        outcome = outcomes[item.id]
        state = outcome.state
        if state is ItemState.PENDING and item.attempts >= config.attempts_max:
            outcome = replace_state(outcome, f"gave up after {item.attempts} attempts: ")
            state = ItemState.REFUSED
        connection.execute(
            update(export_item)
            .where(export_item.c.id == item.id)
            .values(
                state=state.value,
                next_at_ms=now_ms + _wait_ms(item, outcome),
                sent_at_ms=now_ms if state is ItemState.SENT else None,
                error=outcome.error[:ERROR_LENGTH_MAX],
            )
        )


def replace_state(outcome: Outcome, why: str) -> Outcome:
    """Return an outcome that a person has to look at."""
    return Outcome(ItemState.REFUSED, f"{why}{outcome.error}")


def _wait_ms(item: Item, outcome: Outcome) -> int:
    if outcome.retry_after_s is not None:
        return min(int(outcome.retry_after_s * 1_000), BACKOFF_MS_MAX)
    # Spread by the item, so that those of one failure do not come back at once.
    backoff_ms = min(BACKOFF_MS_MIN << min(item.attempts, 12), BACKOFF_MS_MAX)
    return backoff_ms // 2 + (item.id * 7_919) % max(backoff_ms // 2, 1)


def _sendable(
    connection: Connection, items: Sequence[Item], target: Target, now_ms: int
) -> list[Item]:
    """Give items the names that customers have there; put aside what cannot be sent."""
    names: dict[str, str] = {}
    if target.system:
        table = external_id.c
        query = select(table.customer_id, table.external_id).where(
            table.system == target.system,
            table.customer_id.in_({item.customer for item in items}),
        )
        names = {row.customer_id: row.external_id for row in connection.execute(query)}
    sendable = []
    for item in items:
        aside = _why_not(item, target, names, now_ms)
        if aside is None:
            sendable.append(replace(item, external=names.get(item.customer, "")))
            continue
        connection.execute(
            update(export_item)
            .where(export_item.c.id == item.id)
            .values(
                state=aside.state.value,
                error=aside.error[:ERROR_LENGTH_MAX],
                next_at_ms=now_ms + BACKOFF_MS_MAX // 10,
            )
        )
    return sendable


def _why_not(item: Item, target: Target, names: Mapping[str, str], now_ms: int) -> Outcome | None:
    if item.quantity < 0 and not target.takes_negative:
        return Outcome(
            ItemState.REFUSED,
            f"{item.quantity} cannot be sent: nothing below zero is taken there; credit it by hand",
        )
    doubt_ms, tried_ms = target.window_of_doubt_ms, item.first_tried_at_ms
    if doubt_ms is not None and tried_ms is not None and now_ms - tried_ms >= doubt_ms:
        return Outcome(
            ItemState.UNCLEAR,
            "was tried for so long that another attempt could count twice; look it up there",
        )
    if target.system and item.customer not in names:
        return Outcome(
            ItemState.PENDING,
            f"customer {item.customer!r} has no id of {target.system}; set one",
        )
    return None


def _next_batch(connection: Connection, exporter: str) -> int:
    query = select(func.max(export_item.c.batch)).where(export_item.c.exporter == exporter)
    return (connection.scalar(query) or 0) + 1


def _item(row: Any) -> Item:
    dimensions: Match = tuple(sorted(json.loads(row.dimensions).items())) if row.dimensions else ()
    return Item(
        row.id,
        row.identifier,
        row.meter,
        row.customer_id,
        row.resource_id,
        dimensions,
        row.window_start_ms,
        row.window_end_ms,
        row.quantity,
        ItemState(row.state),
        row.batch,
        row.attempts,
        row.first_tried_at_ms,
        error=row.error,
    )


@dataclass(frozen=True, slots=True)
class ExportStatus:
    """How far an exporter is: items by state, the oldest that waits, and the last error."""

    exporter: str
    counts: Mapping[ItemState, int]
    quantity_pending: int
    oldest_pending_ms: int | None
    last_error: str


def export_status(connection: Connection, exporter: str) -> ExportStatus:
    """Return how far an exporter is."""
    table = export_item.c
    counts = dict.fromkeys(ItemState, 0)
    quantity = 0
    oldest: int | None = None
    query = (
        select(
            table.state,
            func.count().label("items"),
            func.sum(table.quantity).label("quantity"),
            func.min(table.window_start_ms).label("oldest"),
        )
        .where(table.exporter == exporter)
        .group_by(table.state)
    )
    for row in connection.execute(query):
        state = ItemState(row.state)
        counts[state] = row.items
        if state is ItemState.PENDING:
            quantity, oldest = int(row.quantity), row.oldest
    last = connection.scalar(
        select(table.error)
        .where(table.exporter == exporter, table.error != "")
        .order_by(table.id.desc())
        .limit(1)
    )
    return ExportStatus(exporter, counts, quantity, oldest, last or "")


def list_items(
    connection: Connection, exporter: str, state: ItemState | None, page_size: int, after: int
) -> list[Item]:
    """Return a page of items, oldest first, with ids above `after`."""
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{page_size} is not 0 to {PAGE_SIZE_MAX}")
    table = export_item.c
    query = select(export_item).where(table.exporter == exporter, table.id > after)
    if state is not None:
        query = query.where(table.state == state.value)
    rows = connection.execute(query.order_by(table.id).limit(page_size or PAGE_SIZE_DEFAULT))
    return [_item(row) for row in rows]


def decide_item(
    connection: Connection, exporter: str, identifier: str, *, is_sent: bool, now_ms: int
) -> Item:
    """Take a person's word on an item that was put aside: it is there, or is to be sent again.

    Raises NotFoundError, and FailedPreconditionError where it is not put aside.
    """
    table = export_item.c
    row = connection.execute(
        select(export_item).where(table.exporter == exporter, table.identifier == identifier)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"exporter {exporter!r} has no item {identifier!r}")
    if row.state not in {ItemState.REFUSED.value, ItemState.UNCLEAR.value}:
        raise FailedPreconditionError(
            f"item {identifier!r} is {row.state}; only what was put aside is decided"
        )
    state = ItemState.SENT if is_sent else ItemState.PENDING
    connection.execute(
        update(export_item)
        .where(table.id == row.id)
        .values(
            state=state.value,
            next_at_ms=now_ms,
            attempts=0,
            batch=0,
            first_tried_at_ms=None,
            sent_at_ms=now_ms if is_sent else None,
            error="",
        )
    )
    return replace(_item(row), state=state, error="")
