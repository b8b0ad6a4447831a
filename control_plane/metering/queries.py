"""Sums of settled usage, for administrators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, or_, select

from control_plane.metering.records import UsageKind
from control_plane.storage.tables import customer_ancestor, usage_event
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.matching import Match
from weighbridge.rules.units import COUNTER_MAX, require_optional_id, require_text
from weighbridge.rules.window import HOUR_MS

DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
MONDAY_MS: Final = 4 * DAY_MS
"""The first Monday: 1970 began on a Thursday."""

ROWS_MAX: Final = 100_000
DIMENSIONS_MAX: Final = 8
DIMENSION_LENGTH_MAX: Final = 64
HALF: Final = 2**32

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UsageGroup(Enum):
    """What a query tells apart. Hours, days, weeks and months are those of UTC."""

    CUSTOMER = "customer"
    RESOURCE = "resource"
    FEATURE = "feature"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


DEFAULT_GROUPS: Final = (UsageGroup.CUSTOMER, UsageGroup.FEATURE)
_TIMES: Final = (UsageGroup.HOUR, UsageGroup.DAY, UsageGroup.WEEK, UsageGroup.MONTH)


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which usage to sum: "" is any; from is inclusive, to exclusive.

    `having`: only usage with all these dimensions. `by_dimensions` are told apart too.
    `with_below`: of the customer and of everybody below it. What usage cost is summed only where
    its feature is named.
    """

    customer: str = ""
    resource: str = ""
    feature: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    group_by: tuple[UsageGroup, ...] = DEFAULT_GROUPS
    by_dimensions: tuple[str, ...] = ()
    having: Match = ()
    with_below: bool = False


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One sum. What the query does not group by is empty, or left out of `dimensions`."""

    customer: str
    resource: str
    feature: str
    bucket_start_ms: int | None
    amount: int
    calls: int
    dimensions: Match = ()


def query_usage(connection: Connection, query: UsageQuery) -> list[UsageRow]:
    """Sum usage, ordered by customer, resource, feature, dimensions and bucket.

    Raises InvalidArgumentError naming the field, or where the answer has more than ROWS_MAX rows.
    """
    query = replace(query, group_by=query.group_by or DEFAULT_GROUPS)
    _require_sound(query)
    keys = _keys(query)
    event = usage_event.c
    selected = (
        select(
            *keys,
            # In two halves: the sum itself could overflow the database's integers. Division
            # rounds to 0 and the remainder has the amount's sign, on both engines.
            func.sum(event.amount // HALF).label("amount_high"),
            func.sum(event.amount % HALF).label("amount_low"),
            func.sum(event.calls).label("calls"),
        )
        .where(*_conditions(query))
        .group_by(*keys)
        .order_by(*keys)
        .limit(ROWS_MAX + 1)
    )
    rows = [_row(query, tuple(row)) for row in connection.execute(selected)]
    if len(rows) > ROWS_MAX:
        problem = f"the answer has more than {ROWS_MAX} rows; ask for less time or one customer"
        raise InvalidArgumentError("group_by", problem)
    return _in_months(rows) if UsageGroup.MONTH in query.group_by else rows


def _keys(query: UsageQuery) -> list[ColumnElement[Any]]:
    event, groups = usage_event.c, query.group_by
    columns = {
        UsageGroup.CUSTOMER: event.customer_id,
        UsageGroup.RESOURCE: event.resource_id,
        UsageGroup.FEATURE: event.feature_id,
    }
    keys: list[ColumnElement[Any]] = [
        column for group, column in columns.items() if group in groups
    ]
    keys += [_dimension(name) for name in query.by_dimensions]
    bucket_ms, offset_ms = _bucket(groups)
    if bucket_ms:
        keys.append(event.occurred_at_ms - (event.occurred_at_ms - offset_ms) % bucket_ms)
    return keys


def _dimension(name: str) -> ColumnElement[str]:
    told: ColumnElement[str] = usage_event.c.dimensions[name].as_string()
    return told


def _row(query: UsageQuery, cells: Sequence[Any]) -> UsageRow:
    high, low, calls = cells[-3:]
    amount = int(high) * HALF + int(low)
    if abs(amount) > COUNTER_MAX:
        problem = f"a sum of {amount} is past what an answer can hold; ask for less time"
        raise InvalidArgumentError("group_by", problem)
    told = iter(cells)
    plain = {
        group: next(told)
        for group in (UsageGroup.CUSTOMER, UsageGroup.RESOURCE, UsageGroup.FEATURE)
        if group in query.group_by
    }
    values = [(name, next(told)) for name in query.by_dimensions]
    bucket_ms, _ = _bucket(query.group_by)
    return UsageRow(
        customer=plain.get(UsageGroup.CUSTOMER, ""),
        resource=plain.get(UsageGroup.RESOURCE, ""),
        feature=plain.get(UsageGroup.FEATURE, ""),
        bucket_start_ms=int(next(told)) if bucket_ms else None,
        amount=amount,
        calls=int(calls),
        dimensions=tuple((name, value) for name, value in values if value is not None),
    )


def _in_months(rows: Iterable[UsageRow]) -> list[UsageRow]:
    """Add days up to months, whose lengths the database is not asked for."""
    months: dict[tuple[object, ...], UsageRow] = {}
    for row in rows:
        assert row.bucket_start_ms is not None, "days are told apart"
        at = _EPOCH + timedelta(milliseconds=row.bucket_start_ms)
        start_ms = (at.replace(day=1) - _EPOCH) // timedelta(milliseconds=1)
        key = (row.customer, row.resource, row.feature, row.dimensions, start_ms)
        known = months.get(key)
        amount = row.amount + (known.amount if known else 0)
        calls = row.calls + (known.calls if known else 0)
        months[key] = replace(row, bucket_start_ms=start_ms, amount=amount, calls=calls)
    return list(months.values())


def _require_sound(query: UsageQuery) -> None:
    require_optional_id("customer", query.customer)
    require_optional_id("resource", query.resource)
    require_optional_id("feature", query.feature)
    times = [group.value for group in query.group_by if group in _TIMES]
    if len(times) > 1:
        raise InvalidArgumentError("group_by", f"names {' and '.join(times)}; choose one")
    if query.from_ms is not None and query.to_ms is not None and query.from_ms > query.to_ms:
        problem = f"{query.from_ms} is after to_unix_ms {query.to_ms}"
        raise InvalidArgumentError("from_unix_ms", problem)
    if query.with_below and not query.customer:
        raise InvalidArgumentError("with_below", "needs a customer that others are below")
    _require_names("group_by_dimensions", query.by_dimensions)
    _require_names("dimensions", [name for name, _ in query.having])


def _require_names(field: str, names: Iterable[str]) -> None:
    named = list(names)
    if len(named) > DIMENSIONS_MAX or len(set(named)) < len(named):
        raise InvalidArgumentError(field, f"are at most {DIMENSIONS_MAX}, each once")
    for name in named:
        # A path in JSON to the database: only what dimensions are called.
        require_text(field, name, DIMENSION_LENGTH_MAX)
        if not name or '"' in name or "\\" in name:
            raise InvalidArgumentError(field, f"{name!r} is no name of a dimension")


def _bucket(groups: tuple[UsageGroup, ...]) -> tuple[int, int]:
    """Return how long a bucket is, 0 for none, and where buckets begin."""
    if UsageGroup.HOUR in groups:
        return HOUR_MS, 0
    if UsageGroup.WEEK in groups:
        return WEEK_MS, MONDAY_MS
    return (DAY_MS, 0) if UsageGroup.DAY in groups or UsageGroup.MONTH in groups else (0, 0)


def _conditions(query: UsageQuery) -> list[ColumnElement[bool]]:
    event = usage_event.c
    conditions: list[ColumnElement[bool]] = []
    if query.customer:
        is_its = event.customer_id == query.customer
        if query.with_below:
            table = customer_ancestor.c
            below = select(table.customer_id).where(table.ancestor_id == query.customer)
            is_its = or_(is_its, event.customer_id.in_(below))
        conditions.append(is_its)
    if query.resource:
        conditions.append(event.resource_id == query.resource)
    if query.feature:
        conditions.append(event.feature_id == query.feature)
    else:
        conditions.append(event.kind != UsageKind.SPEND.value)
    if query.from_ms is not None:
        conditions.append(event.occurred_at_ms >= query.from_ms)
    if query.to_ms is not None:
        conditions.append(event.occurred_at_ms < query.to_ms)
    conditions += (_dimension(name) == value for name, value in query.having)
    return conditions
