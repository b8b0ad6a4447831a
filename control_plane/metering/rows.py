"""Many rows into one table, at the driver's own speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows of plain values, in the order of the columns.

    The driver gets the values as they are (a JSON column takes text): per-value conversion is what
    costs most when thousands of events settle at once.
    """
    if not rows:
        return
    compiled = insert(table).compile(dialect=connection.dialect, column_keys=list(columns))
    if compiled.positional:
        order = [columns.index(name) for name in compiled.positiontup or ()]
        in_place = order == list(range(len(columns)))
        values: list[Any] = (
            list(rows) if in_place else [tuple(row[i] for i in order) for row in rows]
        )
    else:
        values = [dict(zip(columns, row, strict=True)) for row in rows]
    connection.exec_driver_sql(compiled.string, values)
