"""Closed statements: kept as they were, and corrected, never changed.

The first one is the statement as it was when it was closed. Usage that comes later, and whatever
else is found to be different, makes a correction when it is closed again: its lines are what the
ones before it lack, so all of them together are always the statement as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, and_, insert, or_, select

from control_plane.billing.lines import (
    StatementLine,
    line_from_json,
    line_to_json,
    lines_of,
    summed_minor,
    what_is_missing,
)
from control_plane.billing.statement import Statement, StatementQuery, make_statement
from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import require_customer
from control_plane.storage.billing_tables import statement
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.rules.rating.money import Currency

PAGE_SIZE_DEFAULT: Final = 20
PAGE_SIZE_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class ClosedStatement:
    """A statement that was closed (number 1), or a correction of it."""

    query: StatementQuery
    number: int
    currency: Currency | None
    closed_at_ms: int
    total_minor: int
    lines: tuple[StatementLine, ...]


class Closing(NamedTuple):
    """What closing came to; `is_unchanged`: it was closed before as it is."""

    closed: ClosedStatement
    is_unchanged: bool


class StatementPage(NamedTuple):
    """Closed statements, newest first, and where the next page begins ("" after the last)."""

    statements: tuple[ClosedStatement, ...]
    next_page_token: str


def close_statement(
    connection: Connection, library: CatalogLibrary, query: StatementQuery, now_ms: int
) -> Closing:
    """Keep a statement as it is now. Raises FailedPreconditionError where a period still runs."""
    made = make_statement(connection, library, query, now_ms)
    if not made.is_final:
        raise FailedPreconditionError(
            "a billing period of the statement still runs; close it when all have ended"
        )
    kept = closed_statements(connection, made.query)
    lines = lines_of(made)
    if kept:
        missing = what_is_missing(lines, (line for each in kept for line in each.lines))
        if not missing:
            return Closing(kept[-1], is_unchanged=True)
        lines = missing
    closed = ClosedStatement(
        made.query, len(kept) + 1, made.currency, now_ms, summed_minor(lines), tuple(lines)
    )
    connection.execute(insert(statement).values(_row(closed)))
    return Closing(closed, is_unchanged=False)


def closed_statements(connection: Connection, query: StatementQuery) -> list[ClosedStatement]:
    """Return what was closed of a statement, in turn."""
    table = statement.c
    rows = select(statement).where(
        table.customer_id == query.customer,
        table.from_ms == query.from_ms,
        table.to_ms == query.to_ms,
        table.currency == query.currency,
    )
    return [_from_row(row) for row in connection.execute(rows.order_by(table.number))]


def list_statements(
    connection: Connection, customer: str, page_size: int = 0, page_token: str = ""
) -> StatementPage:
    """Return a page of what was closed of a customer. Raises NotFoundError."""
    require_customer(connection, "customer", customer)
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{page_size} is not 0 to {PAGE_SIZE_MAX}")
    size, table = page_size or PAGE_SIZE_DEFAULT, statement.c
    order = (table.closed_at_ms.desc(), table.from_ms.desc(), table.number.desc())
    query = select(statement).where(table.customer_id == customer)
    if page_token:
        query = query.where(_is_after(page_token))
    rows = connection.execute(query.order_by(*order).limit(size + 1)).all()
    token = _token(rows[size - 1]) if len(rows) > size else ""
    return StatementPage(tuple(map(_from_row, rows[:size])), token)


def is_closed_as(made: Statement, kept: Sequence[ClosedStatement]) -> bool:
    """Whether what was closed is the statement as it is."""
    return not what_is_missing(lines_of(made), (x for each in kept for x in each.lines))


def _row(closed: ClosedStatement) -> dict[str, Any]:
    currency = closed.currency
    return {
        "customer_id": closed.query.customer,
        "from_ms": closed.query.from_ms,
        "to_ms": closed.query.to_ms,
        "currency": closed.query.currency,
        "number": closed.number,
        "closed_at_ms": closed.closed_at_ms,
        "total_minor": closed.total_minor,
        "document": {
            "exponent": None if currency is None else currency.exponent,
            "lines": [line_to_json(line) for line in closed.lines],
        },
    }


def _from_row(row: Row[Any]) -> ClosedStatement:
    exponent = row.document["exponent"]
    return ClosedStatement(
        StatementQuery(row.customer_id, row.from_ms, row.to_ms, row.currency),
        row.number,
        None if exponent is None else Currency(row.currency, exponent),
        row.closed_at_ms,
        row.total_minor,
        tuple(map(line_from_json, row.document["lines"])),
    )


def _token(last: Row[Any]) -> str:
    return f"{last.closed_at_ms}.{last.from_ms}.{last.number}"


def _is_after(token: str) -> Any:
    parts = token.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):  # noqa: PLR2004 - three
        raise InvalidArgumentError("page_token", "is not one that a page came with")
    closed_at_ms, from_ms, number = map(int, parts)
    table = statement.c
    return or_(
        table.closed_at_ms < closed_at_ms,
        and_(table.closed_at_ms == closed_at_ms, table.from_ms < from_ms),
        and_(
            table.closed_at_ms == closed_at_ms,
            table.from_ms == from_ms,
            table.number < number,
        ),
    )
