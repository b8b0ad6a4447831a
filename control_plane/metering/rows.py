"""Many rows at once, in or out, at the driver's own speed.

Thousands of events settle in one transaction. What costs most there is not the database but the
making of statements: these are made once per shape, and get their values as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    Dialect,
    Executable,
    Select,
    Table,
    and_,
    bindparam,
    column,
    insert,
    select,
    values,
)
from sqlalchemy.sql.compiler import SQLCompiler

SIZES: Final = (1, 8, 64, 400)
"""How many keys one statement looks up; a list that is between is filled up with its last key."""

Key = tuple[Any, ...]


class Prepared(NamedTuple):
    """A statement as text. `names` are those of its parameters, None where they go by position."""

    text: str
    names: tuple[str, ...] | None

    def parameters(self, row: Sequence[Any]) -> Any:
        return tuple(row) if self.names is None else dict(zip(self.names, row, strict=True))


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Key]
) -> None:
    """Insert rows of plain values, in the table's order of columns. A JSON column takes text."""
    execute_rows(connection, _prepared_insert(connection.dialect, table, tuple(columns)), rows)


def execute_rows(connection: Connection, statement: Prepared, rows: Iterable[Key]) -> None:
    """Execute a statement once per row of parameters."""
    parameters = [statement.parameters(row) for row in rows]
    if parameters:
        connection.exec_driver_sql(statement.text, parameters)


def rows_by_key(
    connection: Connection, table: Table, key: tuple[str, ...], wanted: Iterable[Key]
) -> Iterator[Key]:
    """Yield the rows that have a wanted key, some perhaps twice."""
    for chunk in chunks_filled(sorted(set(wanted))):
        statement = _prepared_lookup(connection.dialect, table, key, len(chunk))
        cells = [cell for row in chunk for cell in row]
        found = connection.exec_driver_sql(statement.text, statement.parameters(cells))
        yield from map(tuple, found.all())


def chunks_filled(items: Sequence[Key]) -> Iterator[list[Key]]:
    """Split into lists whose lengths are of `SIZES`; the last one repeats its last item."""
    for first in range(0, len(items), SIZES[-1]):
        chunk = list(items[first : first + SIZES[-1]])
        size = next(size for size in SIZES if size >= len(chunk))
        yield chunk + chunk[-1:] * (size - len(chunk))


def wanted_rows(table: Table, key: tuple[str, ...], size: int, extra: tuple[str, ...] = ()) -> CTE:
    """Return a table of `size` rows with the key's columns, and extra ones of integers.

    Its cells are the parameters of a prepared statement.
    """
    columns = [column(name, table.c[name].type) for name in key]
    columns += [column(name, BigInteger) for name in extra]
    # Stand-ins: only how many there are matters.
    row = tuple(0 if issubclass(c.type.python_type, int) else "" for c in columns)
    return values(*columns, name="wanted").data([row] * size).cte("wanted")


def prepare(
    dialect: Dialect, statement: Executable, names: tuple[str, ...] | None = None
) -> Prepared:
    """Return a statement whose parameters are all given, in the order they are written.

    `names` are the parameters where they have names of their own.
    """
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)
    if not compiled.positional:
        return Prepared(compiled.string, names or tuple(compiled.params))
    assert names is None or tuple(compiled.positiontup or ()) == names, "in the order written"
    return Prepared(compiled.string, None)


@lru_cache(maxsize=64)
def _prepared_insert(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> Prepared:
    statement = insert(table).values({name: bindparam(name) for name in columns})
    return prepare(dialect, statement, columns)


@lru_cache(maxsize=64)
def _prepared_lookup(dialect: Dialect, table: Table, key: tuple[str, ...], size: int) -> Prepared:
    wanted = wanted_rows(table, key, size)
    is_wanted = and_(*(table.c[name] == wanted.c[name] for name in key))
    query: Select[Any] = select(table).join_from(wanted, table, is_wanted)
    return prepare(dialect, query)
