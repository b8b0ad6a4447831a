"""Sums of settled usage, for administrators."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select

from control_plane.storage.tables import usage_event
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import COUNTER_MAX, require_optional_id
from weighbridge.rules.window import HOUR_MS

DAY_MS: Final = 24 * HOUR_MS
ROWS_MAX: Final = 100_000
HALF: Final = 2**32


class UsageGroup(Enum):
    """What a query tells apart. Hours and days are those of UTC."""

    CUSTOMER = "customer"
    RESOURCE = "resource"
    FEATURE = "feature"
    HOUR = "hour"
    DAY = "day"


DEFAULT_GROUPS: Final = (UsageGroup.CUSTOMER, UsageGroup.FEATURE)


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which usage to sum: "" is any; from is inclusive, to exclusive."""

    customer: str = ""
    resource: str = ""
    feature: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    group_by: tuple[UsageGroup, ...] = DEFAULT_GROUPS


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One sum. What the query does not group by is empty."""

    customer: str
    resource: str
    feature: str
    bucket_start_ms: int | None
    amount: int
    calls: int


def query_usage(connection: Connection, query: UsageQuery) -> list[UsageRow]:
    """Sum usage, ordered by customer, resource, feature and bucket.

    Raises InvalidArgumentError naming the field, or where the answer has more than ROWS_MAX rows.
    """
    groups = query.group_by or DEFAULT_GROUPS
    _require_sound(query, groups)
    event = usage_event.c
    keys: dict[str, ColumnElement[str] | ColumnElement[int]] = {}
    if UsageGroup.CUSTOMER in groups:
        keys["customer"] = event.customer_id
    if UsageGroup.RESOURCE in groups:
        keys["resource"] = event.resource_id
    if UsageGroup.FEATURE in groups:
        keys["feature"] = event.feature_id
    bucket_ms = _bucket_ms(groups)
    if bucket_ms:
        keys["bucket_start_ms"] = event.occurred_at_ms - event.occurred_at_ms % bucket_ms
    selected = (
        select(
            *(key.label(name) for name, key in keys.items()),
            # In two halves: the sum itself could overflow the database's integers. Division
            # rounds to 0 and the remainder has the amount's sign, on both engines.
            func.sum(event.amount // HALF).label("amount_high"),
            func.sum(event.amount % HALF).label("amount_low"),
            func.sum(event.calls).label("calls"),
        )
        .where(*_conditions(query))
        .group_by(*keys.values())
        .order_by(*keys.values())
        .limit(ROWS_MAX + 1)
    )
    rows = connection.execute(selected).mappings().all()
    if len(rows) > ROWS_MAX:
        problem = f"the answer has more than {ROWS_MAX} rows; ask for less time or one customer"
        raise InvalidArgumentError("group_by", problem)
    return [_row(row) for row in rows]


def _row(row: RowMapping) -> UsageRow:
    amount = int(row["amount_high"]) * HALF + int(row["amount_low"])
    if abs(amount) > COUNTER_MAX:
        problem = f"a sum of {amount} is past what an answer can hold; ask for less time"
        raise InvalidArgumentError("group_by", problem)
    return UsageRow(
        customer=row.get("customer", ""),
        resource=row.get("resource", ""),
        feature=row.get("feature", ""),
        bucket_start_ms=row.get("bucket_start_ms"),
        amount=amount,
        calls=int(row["calls"]),
    )


def _require_sound(query: UsageQuery, groups: tuple[UsageGroup, ...]) -> None:
    require_optional_id("customer", query.customer)
    require_optional_id("resource", query.resource)
    require_optional_id("feature", query.feature)
    if UsageGroup.HOUR in groups and UsageGroup.DAY in groups:
        raise InvalidArgumentError("group_by", "names hour and day; choose one")
    if query.from_ms is not None and query.to_ms is not None and query.from_ms > query.to_ms:
        problem = f"{query.from_ms} is after to_unix_ms {query.to_ms}"
        raise InvalidArgumentError("from_unix_ms", problem)


def _bucket_ms(groups: tuple[UsageGroup, ...]) -> int:
    if UsageGroup.HOUR in groups:
        return HOUR_MS
    return DAY_MS if UsageGroup.DAY in groups else 0


def _conditions(query: UsageQuery) -> list[ColumnElement[bool]]:
    event = usage_event.c
    conditions: list[ColumnElement[bool]] = []
    if query.customer:
        conditions.append(event.customer_id == query.customer)
    if query.resource:
        conditions.append(event.resource_id == query.resource)
    if query.feature:
        conditions.append(event.feature_id == query.feature)
    if query.from_ms is not None:
        conditions.append(event.occurred_at_ms >= query.from_ms)
    if query.to_ms is not None:
        conditions.append(event.occurred_at_ms < query.to_ms)
    return conditions
