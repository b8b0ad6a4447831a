"""Many rows at once, in or out, at the driver's own speed.

Thousands of events settle in one transaction. What costs most there is not the database but the
making of statements and the way of their parameters. Statements are made once per shape. SQLite
gets each value as a parameter, many rows per statement or one. PostgreSQL's driver takes as long
for a parameter as its server for a row, so there all rows of a statement travel in one, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    JSON,
    ColumnClause,
    Connection,
    Dialect,
    Executable,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
    values,
)
from sqlalchemy.sql.compiler import SQLCompiler

SIZES: Final = (1, 8, 64, 400)
"""How many keys one statement looks up; a list that is between is filled up with its last key."""

ROWS_PER_DOCUMENT: Final = 5_000
"""How many rows travel in one parameter."""

CELLS_UP_TO: Final = 8
"""So few keys are parameters everywhere: PostgreSQL takes a document to have about 100 rows, and
plans for those."""

_DOCUMENT: Final = "document"

Key = tuple[Any, ...]


class Prepared(NamedTuple):
    """A statement as text. `names` are those of its parameters, None where they go by position.

    `columns` are those of the rows that it takes as JSON, None where each cell is a parameter.
    """

    text: str
    names: tuple[str, ...] | None
    columns: tuple[str, ...] | None = None

    def of_row(self, row: Sequence[Any]) -> Any:
        """Return the parameters for one row."""
        return tuple(row) if self.names is None else dict(zip(self.names, row, strict=True))

    def of_rows(self, rows: Iterable[Key]) -> Any:
        """Return the parameters for a list of rows."""
        if self.columns is None:
            return self.of_row([cell for row in rows for cell in row])
        objects = [dict(zip(self.columns, row, strict=True)) for row in rows]
        return {_DOCUMENT: json.dumps(objects, default=_bytes_as_text)}


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Key]
) -> None:
    """Insert rows of plain values, in the table's order of columns. A JSON column takes text."""
    execute_rows(connection, _prepared_insert(connection.dialect, table, tuple(columns)), rows)


def update_rows(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    key: tuple[str, ...],
    rows: Iterable[Key],
) -> None:
    """Set columns of rows that are there. Each row has values for them, and then its key."""
    changed = list(rows)
    if not changed:
        return
    is_one = len(changed) == 1
    statement = _prepared_update(connection.dialect, table, columns, key, is_one=is_one)
    execute_rows(connection, statement, changed)


def execute_rows(connection: Connection, statement: Prepared, rows: Iterable[Key]) -> None:
    """Execute a statement for rows of parameters: once for each, or for all of them."""
    if statement.columns is None:
        parameters = [statement.of_row(row) for row in rows]
        if parameters:
            # A list of one would go the drivers' way for many.
            one = parameters[0] if len(parameters) == 1 else parameters
            connection.exec_driver_sql(statement.text, one)
        return
    every = list(rows)
    for first in range(0, len(every), ROWS_PER_DOCUMENT):
        chunk = every[first : first + ROWS_PER_DOCUMENT]
        connection.exec_driver_sql(statement.text, statement.of_rows(chunk))


def rows_by_key(
    connection: Connection,
    table: Table,
    key: tuple[str, ...],
    wanted: Iterable[Key],
    columns: tuple[str, ...] = (),
) -> Iterator[Key]:
    """Yield the rows that have a wanted key, some perhaps twice: these columns, or all of them."""
    for chunk in chunks_filled(connection.dialect, sorted(set(wanted))):
        size = size_of(connection.dialect, chunk)
        statement = _prepared_lookup(connection.dialect, table, key, columns, size)
        found = connection.exec_driver_sql(statement.text, statement.of_rows(chunk))
        yield from map(tuple, found.all())


def chunks_filled(dialect: Dialect, items: Sequence[Key]) -> Iterator[list[Key]]:
    """Split into lists of rows for one statement each.

    Where cells are parameters, lengths are of `SIZES`, and the last list repeats its last item.
    """
    size_max = ROWS_PER_DOCUMENT if _takes_documents(dialect) else SIZES[-1]
    for first in range(0, len(items), size_max):
        chunk = list(items[first : first + size_max])
        size = len(chunk)
        if size <= CELLS_UP_TO or not _takes_documents(dialect):
            size = next(size for size in SIZES if size >= len(chunk))
        yield chunk + chunk[-1:] * (size - len(chunk))


def size_of(dialect: Dialect, chunk: Sequence[Key]) -> int:
    """Return the `size` of `wanted_rows` for a chunk."""
    return 0 if len(chunk) > CELLS_UP_TO and _takes_documents(dialect) else len(chunk)


def wanted_rows(columns: Sequence[ColumnClause[Any]], size: int) -> FromClause:
    """Return a list of rows as a table, to be given to the statement when it is executed.

    `size` is how many rows it has; 0 where it takes any number, in one parameter.
    """
    if not size:
        document = cast(bindparam(_DOCUMENT, type_=Text), JSON)
        rows = func.json_to_recordset(document).table_valued(*columns)
        return rows.render_derived(name="wanted", with_types=True)
    # Stand-ins: only how many there are matters.
    row = tuple(0 if issubclass(c.type.python_type, int) else "" for c in columns)
    return values(*columns, name="wanted").data([row] * size).cte("wanted")


def columns_of(table: Table, names: Iterable[str]) -> list[ColumnClause[Any]]:
    """Return columns for `wanted_rows` that are named and typed as the table's."""
    return [column(name, table.c[name].type) for name in names]


def prepare(dialect: Dialect, statement: Executable, names: tuple[str, ...]) -> Prepared:
    """Return a statement with these parameters, in the order they are written."""
    compiled = _compile(dialect, statement)
    if not compiled.positional:
        return Prepared(compiled.string, names)
    assert tuple(compiled.positiontup or ()) == names, "in the order written"
    return Prepared(compiled.string, None)


def prepare_list(dialect: Dialect, statement: Executable, columns: Iterable[str]) -> Prepared:
    """Return a statement whose parameters are the rows of `wanted_rows`, and nothing else."""
    compiled = _compile(dialect, statement)
    if _DOCUMENT in compiled.params:
        return Prepared(compiled.string, (_DOCUMENT,), tuple(columns))
    return Prepared(compiled.string, None if compiled.positional else tuple(compiled.params))


def _compile(dialect: Dialect, statement: Executable) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)
    return compiled


def _takes_documents(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"


def _bytes_as_text(cell: object) -> str:
    assert isinstance(cell, bytes), "cells are what JSON has, or bytes"
    return f"\\x{cell.hex()}"


@lru_cache(maxsize=64)
def _prepared_insert(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> Prepared:
    if not _takes_documents(dialect):
        each = insert(table).values({name: bindparam(name) for name in columns})
        return prepare(dialect, each, columns)
    # A document within the document is text.
    texts = [name for name in columns if isinstance(table.c[name].type, JSON)]
    wanted = wanted_rows(
        [column(name, Text if name in texts else table.c[name].type) for name in columns],
        0,
    )
    cells = [cast(wanted.c[name], JSON) if name in texts else wanted.c[name] for name in columns]
    return prepare_list(dialect, insert(table).from_select(columns, select(*cells)), columns)


@lru_cache(maxsize=64)
def _prepared_update(
    dialect: Dialect, table: Table, columns: tuple[str, ...], key: tuple[str, ...], *, is_one: bool
) -> Prepared:
    if is_one or not _takes_documents(dialect):
        given: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
        is_row = [table.c[name] == bindparam(f"in_{name}") for name in key]
        names = (*(f"new_{name}" for name in columns), *(f"in_{name}" for name in key))
        return prepare(dialect, update(table).values(given).where(*is_row), names)
    wanted = wanted_rows(columns_of(table, (*columns, *key)), 0)
    statement = (
        update(table)
        .values({name: wanted.c[name] for name in columns})
        .where(*(table.c[name] == wanted.c[name] for name in key))
    )
    return prepare_list(dialect, statement, (*columns, *key))


@lru_cache(maxsize=128)
def _prepared_lookup(
    dialect: Dialect, table: Table, key: tuple[str, ...], columns: tuple[str, ...], size: int
) -> Prepared:
    wanted = wanted_rows(columns_of(table, key), size)
    is_wanted = and_(*(table.c[name] == wanted.c[name] for name in key))
    cells = [table.c[name] for name in columns] if columns else [table]
    query: Select[Any] = select(*cells).join_from(wanted, table, is_wanted)
    return prepare_list(dialect, query, key)
