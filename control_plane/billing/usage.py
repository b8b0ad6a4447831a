"""What was used in a span of time, for everybody whom one subscription pays for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    exists,
    func,
    not_,
    or_,
    select,
)

from control_plane.metering.records import UsageKind
from control_plane.storage.ledger_tables import ledger_entry, ledger_transaction
from control_plane.storage.tables import customer_ancestor, subscription, usage_event
from weighbridge.rules.catalog import Subscription
from weighbridge.rules.credits import CREDIT_METER
from weighbridge.rules.ledger import OVERAGE
from weighbridge.rules.matching import Match
from weighbridge.rules.rating.priced import Priced
from weighbridge.rules.rating.usage import Usage

HALF: Final = 2**32
FOREVER_MS: Final = 2**62
APART_PER_QUERY: Final = 100
SINCE_EVER_MS: Final = 0

Interval = tuple[int, int]


class Below(NamedTuple):
    """A customer below the payer, and when it, or somebody between, had a subscription itself."""

    customer: str
    pays_itself: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose usage a subscription pays for: a resource's own; a customer's, and of those below it.

    `apart` are those below that had subscriptions of their own at some time.
    """

    customer: str
    resource: str
    apart: Sequence[Below] = field(default_factory=tuple)


class UsedUnits(NamedTuple):
    """Units of a feature in a span, by all dimensions that they were told with."""

    feature: str
    dimensions: Match
    units: int
    calls: int


def payer_of(
    connection: Connection,
    customer: str,
    resource: str,
    subscriptions: Mapping[tuple[str, str], Sequence[Subscription]],
) -> Payer:
    """Return whom a customer's subscription pays for; `subscriptions` are those of all below."""
    if resource:
        return Payer(customer, resource)
    table = customer_ancestor.c
    below = select(table.customer_id).where(table.ancestor_id == customer)
    rows = connection.execute(
        select(table.customer_id, table.ancestor_id, table.depth)
        .where(table.customer_id.in_(below))
        .order_by(table.customer_id, table.depth)
    )
    path: dict[str, list[str]] = {}
    for row in rows:
        path.setdefault(row.customer_id, []).append(row.ancestor_id)
    apart = []
    for each, above in path.items():
        between = [each, *above[: above.index(customer)]]
        own = [
            (s.starts_at_ms, s.ends_at_ms) for c in between for s in subscriptions.get((c, ""), ())
        ]
        if own:
            spans = [(start, FOREVER_MS if end is None else end) for start, end in own]
            apart.append(Below(each, tuple(_united(spans))))
    return Payer(customer, resource, apart)


def used(
    connection: Connection, payer: Payer, priced: Mapping[str, Priced], span: Interval
) -> list[Usage]:
    """Return usage as prices charge for it: by the dimensions that they look at.

    Of an allocation feature, that is what is held at the end of the span.
    """
    summed = [name for name, each in priced.items() if not (each.is_capped or each.is_held)]
    held = [name for name, each in priced.items() if each.is_held]
    capped = [name for name, each in priced.items() if each.is_capped and not each.is_held]
    found = list(_credits_past(connection, payer, summed, span))
    found += _projected(priced, _sums(connection, payer, summed, span))
    found += _projected(priced, _sums(connection, payer, held, (SINCE_EVER_MS, span[1])))
    if capped:
        for each, count in _transactions(connection, payer, capped, span):
            dimensions = _seen(priced[each.feature], each.dimensions)
            found += _one_by_one(each, dimensions) * count
    return found


def used_units(connection: Connection, payer: Payer, span: Interval) -> list[UsedUnits]:
    """Return all usage of a span, whether it has a price or not."""
    sums: dict[tuple[str, Match], UsedUnits] = {}
    for each in _sums(connection, payer, None, span):
        known = sums.get((each.feature, each.dimensions))
        if known is not None:
            each = UsedUnits(*known[:2], known.units + each.units, known.calls + each.calls)  # noqa: PLW2901 - the sum takes its place
        sums[each.feature, each.dimensions] = each
    return sorted(sums.values())


def _projected(priced: Mapping[str, Priced], rows: Iterable[UsedUnits]) -> Iterator[Usage]:
    sums: dict[tuple[str, Match], list[int]] = {}
    for each in rows:
        key = (each.feature, _seen(priced[each.feature], each.dimensions))
        total = sums.setdefault(key, [0, 0])
        total[0] += each.units
        total[1] += each.calls
    for (feature, dimensions), (units, calls) in sorted(sums.items()):
        yield Usage(feature, max(units, 0), dimensions, transactions=calls)


def _seen(priced: Priced, dimensions: Match) -> Match:
    return tuple(pair for pair in dimensions if pair in priced.pairs)


def _one_by_one(used_: UsedUnits, dimensions: Match) -> list[Usage]:
    """Return the transactions that an event sums; sidecars tell sums of several as alike parts."""
    each, more = divmod(used_.units, max(used_.calls, 1))
    return [
        Usage(used_.feature, each + (position < more), dimensions)
        for position in range(max(used_.calls, 1))
    ]


def _sums(
    connection: Connection, payer: Payer, features: Sequence[str] | None, span: Interval
) -> list[UsedUnits]:
    if features is not None and not features:
        return []
    event = usage_event.c
    told = cast(event.dimensions, Text).label("told")
    query = select(
        event.feature_id,
        told,
        func.sum(event.amount // HALF).label("high"),
        func.sum(event.amount % HALF).label("low"),
        func.sum(event.calls).label("calls"),
    ).group_by(event.feature_id, told)
    if features is not None:
        query = query.where(event.feature_id.in_(features))
    else:
        # What usage cost is no usage of its own.
        query = query.where(event.kind != UsageKind.SPEND.value)
    return [
        UsedUnits(
            row.feature_id,
            _dimensions(row.told),
            int(row.high) * HALF + int(row.low),
            int(row.calls),
        )
        for part in _paid(payer, span)
        for row in connection.execute(query.where(part))
    ]


def _transactions(
    connection: Connection, payer: Payer, features: Sequence[str], span: Interval
) -> list[tuple[UsedUnits, int]]:
    """Return usage by the amounts of single events, and how many had each."""
    event = usage_event.c
    told = cast(event.dimensions, Text).label("told")
    key = (event.feature_id, told, event.amount, event.calls)
    query = (
        select(*key, func.count().label("events"))
        .where(event.feature_id.in_(features))
        .group_by(*key)
        .order_by(*key)
    )
    return [
        (UsedUnits(row.feature_id, _dimensions(row.told), row.amount, row.calls), row.events)
        for part in _paid(payer, span)
        for row in connection.execute(query.where(part))
    ]


def _paid(payer: Payer, span: Interval) -> Iterator[ColumnElement[bool]]:
    """Yield which events of the span are the payer's to pay: each is in one of the parts."""
    event = usage_event.c
    within = and_(event.occurred_at_ms >= span[0], event.occurred_at_ms < span[1])
    if payer.resource:
        of = and_(event.customer_id == payer.customer, event.resource_id == payer.resource)
        yield and_(of, within)
        return
    within = and_(event.resource_id == "", within)
    yield and_(event.customer_id == payer.customer, within)
    yield and_(event.customer_id.in_(_never_apart(payer.customer)), within)
    for first in range(0, len(payer.apart), APART_PER_QUERY):
        whose = []
        for each in payer.apart[first : first + APART_PER_QUERY]:
            own = (
                and_(event.occurred_at_ms >= start, event.occurred_at_ms < end)
                for start, end in each.pays_itself
            )
            whose.append(and_(event.customer_id == each.customer, not_(or_(*own))))
        yield and_(or_(*whose), within)


def _never_apart(customer: str) -> Select[Any]:
    """Select those below who never had a subscription, and nobody between."""
    below, between = customer_ancestor.alias("below"), customer_ancestor.alias("between")
    of_itself, of_between = subscription.alias("of_itself"), subscription.alias("of_between")
    has_own = exists().where(
        of_itself.c.customer_id == below.c.customer_id, *_ever_stood(of_itself.c)
    )
    is_under_one = (
        select(between.c.customer_id)
        .join(of_between, of_between.c.customer_id == between.c.ancestor_id)
        .where(
            between.c.customer_id == below.c.customer_id,
            between.c.depth < below.c.depth,
            *_ever_stood(of_between.c),
        )
        .correlate(below)
        .exists()
    )
    return select(below.c.customer_id).where(
        below.c.ancestor_id == customer, ~has_own, ~is_under_one
    )


def _ever_stood(own: Any) -> tuple[ColumnElement[bool], ...]:
    lasted = or_(own.ends_at_ms.is_(None), own.ends_at_ms > own.starts_at_ms)
    return own.resource_id == "", lasted


def _credits_past(
    connection: Connection, payer: Payer, meters: Sequence[str], span: Interval
) -> Iterator[Usage]:
    """Yield credits that were used past the balance, net of what was refunded."""
    types = [name.removeprefix(CREDIT_METER) for name in meters if name.startswith(CREDIT_METER)]
    if not types or payer.resource:
        return
    posted, entry = ledger_transaction.c, ledger_entry.c
    charged = ledger_transaction.alias("charged")
    # What a refund takes back was used when the charge says.
    used_at_ms = func.coalesce(charged.c.occurred_at_ms, posted.occurred_at_ms)
    query = (
        select(posted.credit_type, func.sum(entry.amount).label("micro"))
        .join_from(
            ledger_transaction,
            ledger_entry,
            and_(
                posted.customer_id == entry.customer_id,
                posted.credit_type == entry.credit_type,
                posted.number == entry.number,
            ),
        )
        .outerjoin(
            charged,
            and_(
                charged.c.customer_id == posted.customer_id,
                charged.c.credit_type == posted.credit_type,
                charged.c.number == posted.reverses,
            ),
        )
        .where(
            posted.customer_id == payer.customer,
            posted.credit_type.in_(types),
            used_at_ms >= span[0],
            used_at_ms < span[1],
            entry.account == OVERAGE,
        )
        .group_by(posted.credit_type)
    )
    for row in connection.execute(query):
        micro = max(-int(row.micro), 0)
        if micro:
            yield Usage(CREDIT_METER + row.credit_type, micro)


def _dimensions(told: str | None) -> Match:
    return tuple(sorted(json.loads(told).items())) if told else ()


def _united(spans: Iterable[Interval]) -> Iterator[Interval]:
    begun: Interval | None = None
    for start, end in sorted(spans):
        if begun is None:
            begun = (start, end)
        elif start <= begun[1]:
            begun = (begun[0], max(begun[1], end))
        else:
            yield begun
            begun = (start, end)
    if begun is not None:
        yield begun
