"""From events to items: each event is summed once, and each total made into items once.

A cursor over events moves in the transaction that adds them to totals by window. A window that
ended a while ago becomes an item of all it has; what comes to it later becomes another.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, func, insert, select, text, true, update

from control_plane.exporters.config import ExporterConfig, MeterPart
from control_plane.exporters.items import ItemState
from control_plane.metering.records import UsageKind
from control_plane.storage.export_tables import (
    UNEXPORTED,
    export_cursor,
    export_item,
    export_total,
)
from control_plane.storage.rows import insert_rows, rows_by_key, update_rows
from control_plane.storage.tables import usage_event
from weighbridge.rules.window import HOUR_MS

EVENTS_PER_PAGE: Final = 5_000
TOTALS_PER_PAGE: Final = 1_000
WINDOW_MS: Final = {"hour": HOUR_MS, "day": 24 * HOUR_MS}

_KEY: Final = (
    "exporter",
    "meter",
    "customer_id",
    "resource_id",
    "dimensions_digest",
    "window_start_ms",
)
_ADDED: Final = (*_KEY, "dimensions", "window_end_ms", "total", "exported", "items")
_ITEM: Final = (
    "exporter",
    "identifier",
    "meter",
    "customer_id",
    "resource_id",
    "dimensions",
    "window_start_ms",
    "window_end_ms",
    "quantity",
    "state",
    "batch",
    "attempts",
    "next_at_ms",
    "error",
)


class _TotalKey(NamedTuple):
    exporter: str
    meter: str
    customer: str
    resource: str
    dimensions_digest: str
    window_start_ms: int


def open_cursor(connection: Connection, config: ExporterConfig) -> int:
    """Return up to which event usage is summed; made where the exporter is new."""
    found: int | None = connection.scalar(
        select(export_cursor.c.event_id).where(export_cursor.c.exporter == config.id)
    )
    if found is not None:
        return found
    last = 0
    if not config.from_start:
        last = connection.scalar(select(func.max(usage_event.c.id))) or 0
    connection.execute(
        insert(export_cursor).values(exporter=config.id, event_id=last, owner="", owned_until_ms=0)
    )
    return last


def claim(connection: Connection, exporter: str, owner: str, now_ms: int, until_ms: int) -> bool:
    """Have one process work for an exporter for a while; False where another one does."""
    table = export_cursor.c
    is_free = (table.owner == owner) | (table.owned_until_ms <= now_ms)
    claimed = connection.execute(
        update(export_cursor)
        .where(table.exporter == exporter, is_free)
        .values(owner=owner, owned_until_ms=until_ms)
    )
    return claimed.rowcount == 1


def take_over(connection: Connection, exporter: str) -> None:
    """End whatever claim there is on an exporter."""
    connection.execute(
        update(export_cursor).where(export_cursor.c.exporter == exporter).values(owned_until_ms=0)
    )


def sum_events(connection: Connection, config: ExporterConfig) -> int:
    """Add a page of events to totals and move the cursor; return how many events there were."""
    after = open_cursor(connection, config)
    event = usage_event.c
    rows = connection.execute(
        select(
            event.id,
            event.customer_id,
            event.resource_id,
            event.feature_id,
            event.amount,
            event.occurred_at_ms,
            event.dimensions,
        )
        # What usage cost is no usage.
        .where(event.id > after, event.kind != UsageKind.SPEND.value)
        .order_by(event.id)
        .limit(EVENTS_PER_PAGE)
    ).all()
    if not rows:
        return 0
    _add(connection, config, rows)
    connection.execute(
        update(export_cursor)
        .where(export_cursor.c.exporter == config.id)
        .values(event_id=rows[-1].id)
    )
    return len(rows)


def _add(connection: Connection, config: ExporterConfig, rows: Iterable[Any]) -> None:
    window_ms = WINDOW_MS[config.window]
    sums: defaultdict[_TotalKey, int] = defaultdict(int)
    told: dict[str, str] = {"": ""}
    for row in rows:
        dimensions = row.dimensions or {}
        for meter in meters_of(config, row.feature_id, dimensions):
            kept = {name: dimensions[name] for name in config.dimensions if name in dimensions}
            shape = json.dumps(kept, sort_keys=True) if kept else ""
            digest = sha256(shape.encode()).hexdigest()[:32] if shape else ""
            told[digest] = shape
            start_ms = row.occurred_at_ms - row.occurred_at_ms % window_ms
            key = _TotalKey(config.id, meter, row.customer_id, row.resource_id, digest, start_ms)
            sums[key] += row.amount
    known = {
        _TotalKey(*row[: len(_KEY)]) for row in rows_by_key(connection, export_total, _KEY, sums)
    }
    new = (
        (*key, told[key.dimensions_digest], key.window_start_ms + window_ms, units, 0, 0)
        for key, units in sums.items()
        if key not in known
    )
    insert_rows(connection, export_total, _ADDED, new)
    table = export_total.c
    for key in known:
        connection.execute(
            update(export_total)
            .where(*(table[name] == value for name, value in zip(_KEY, key, strict=True)))
            .values(total=table.total + sums[key])
        )


def meters_of(config: ExporterConfig, feature: str, dimensions: dict[str, str]) -> Iterable[str]:
    """Return the meters that usage belongs to; every feature's own where none are named."""
    parts: Sequence[MeterPart] = config.meter_parts
    if not parts:
        return (feature,)
    return [
        part.key
        for part in parts
        if part.feature == feature and part.match.items() <= dimensions.items()
    ]


def make_items(
    connection: Connection, config: ExporterConfig, now_ms: int, ended_ms: int | None
) -> int:
    """Make items of a page of windows that ended by `ended_ms` (None: of all); return how many."""
    table = export_total
    has_ended = true() if ended_ms is None else table.c.window_end_ms <= ended_ms
    rows = connection.execute(
        select(table)
        .where(
            and_(table.c.exporter == config.id, has_ended),
            text(UNEXPORTED),
        )
        .order_by(table.c.window_end_ms)
        .limit(TOTALS_PER_PAGE)
    ).all()
    items = [
        (
            config.id,
            identifier_of(row),
            row.meter,
            row.customer_id,
            row.resource_id,
            row.dimensions,
            row.window_start_ms,
            row.window_end_ms,
            row.total - row.exported,
            ItemState.PENDING.value,
            0,
            0,
            now_ms,
            "",
        )
        for row in rows
    ]
    insert_rows(connection, export_item, _ITEM, items)
    exported = ((row.total, row.items + 1, *(getattr(row, name) for name in _KEY)) for row in rows)
    update_rows(connection, export_total, ("exported", "items"), _KEY, exported)
    return len(rows)


def identifier_of(row: Any) -> str:
    """Return what the item of a total is called for ever: by window, and which one it is of it."""
    of = (
        row.meter,
        row.customer_id,
        row.resource_id,
        row.dimensions_digest,
        row.window_start_ms,
        row.window_end_ms,
    )
    digest = sha256(json.dumps(of).encode()).hexdigest()[:32]
    return f"wb-{row.exporter}-{digest}-{row.items + 1}"
