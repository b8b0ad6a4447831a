"""Statements as flat lines: to be shown, kept, and compared with what was kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, NamedTuple

from control_plane.billing.statement import ChargedLine, ChargedPeriod, Statement
from weighbridge.rules.matching import Match
from weighbridge.rules.rating.money import exact

Json = dict[str, Any]


class LineKey(NamedTuple):
    """What a line charges for: two statements of one span have the same line for it."""

    resource: str
    every: str
    period_start_ms: int
    period_end_ms: int
    from_ms: int
    until_ms: int
    plan: str
    plan_version: int
    add_on: str
    kind: str
    price: str
    feature: str
    match: Match
    # What a change gives back has the same price and span as what the next one charges.
    gives_back: bool


class Tier(NamedTuple):
    """A part of a line: `units` at `unit` each `per`, and `flat` once."""

    units: int
    unit: str
    per: int
    flat: str


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A line; `amount` is a decimal in the currency itself, `minor` what is charged."""

    key: LineKey
    quantity: int
    included: int
    amount: str
    minor: int
    tiers: tuple[Tier, ...] = ()

    @property
    def is_nothing(self) -> bool:
        return not (self.quantity or self.minor or Decimal(self.amount))


def lines_of(statement: Statement) -> list[StatementLine]:
    """Return the lines of all periods."""
    return [_line(period, line) for period in statement.periods for line in period.lines]


def what_is_missing(
    now: Sequence[StatementLine], kept: Iterable[StatementLine]
) -> list[StatementLine]:
    """Return the lines that make of what was kept what there is now; those of nothing left out."""
    before: dict[LineKey, StatementLine] = {}
    for line in kept:
        known = before.get(line.key)
        before[line.key] = line if known is None else _sum(known, line, 1)
    missing = []
    for line in now:
        known = before.pop(line.key, None)
        missing.append(line if known is None else _sum(line, known, -1))
    missing += (_sum(_nothing(line), line, -1) for line in before.values())
    return [line for line in missing if not line.is_nothing]


def line_to_json(line: StatementLine) -> Json:
    """Return a line as it is kept."""
    shape = {**line.key._asdict(), "match": dict(line.key.match)}
    tiers = [list(tier) for tier in line.tiers]
    return {
        **shape,
        "quantity": line.quantity,
        "included": line.included,
        "amount": line.amount,
        "minor": line.minor,
        "tiers": tiers,
    }


def line_from_json(shape: Mapping[str, Any]) -> StatementLine:
    """Return a line that was kept."""
    named = {name: shape[name] for name in LineKey._fields if name != "match"}
    key = LineKey(**named, match=tuple(sorted(shape["match"].items())))
    tiers = tuple(Tier(*tier) for tier in shape["tiers"])
    of = (shape["quantity"], shape["included"], shape["amount"], shape["minor"])
    return StatementLine(key, *of, tiers)


def _line(period: ChargedPeriod, charged: ChargedLine) -> StatementLine:
    item = charged.item
    origin, detail = item.origin, item.detail
    key = LineKey(
        period.resource,
        period.every.value,
        period.start_ms,
        period.end_ms,
        charged.from_ms,
        charged.until_ms,
        charged.plan,
        charged.plan_version,
        origin.add_on,
        origin.kind.value,
        origin.key,
        origin.feature,
        origin.match,
        charged.gives_back,
    )
    tiers = tuple(
        Tier(each.units, _plain(each.unit), detail.per, _plain(each.flat))
        for each in detail.segments
    )
    return StatementLine(
        key, item.quantity, detail.included, _plain(item.amount), item.minor, tiers
    )


def _sum(line: StatementLine, other: StatementLine, sign: int) -> StatementLine:
    with exact():
        amount = Decimal(line.amount) + sign * Decimal(other.amount)
    return replace(
        line,
        quantity=line.quantity + sign * other.quantity,
        included=line.included + sign * other.included,
        amount=_plain(amount),
        minor=line.minor + sign * other.minor,
        tiers=(),
    )


def _nothing(line: StatementLine) -> StatementLine:
    return replace(line, quantity=0, included=0, amount="0", minor=0, tiers=())


def _plain(amount: Decimal) -> str:
    """Write a decimal without an exponent, and without zeros that say nothing."""
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") or _ZERO) if "." in text else text


_ZERO: Final = "0"


def summed_minor(lines: Iterable[StatementLine]) -> int:
    return sum(line.minor for line in lines)


def usage_rows(statement: Statement) -> Iterator[tuple[ChargedPeriod, str, Match, int, int, bool]]:
    """Yield usage by period, feature and dimensions: amount, calls, whether no price fits it."""
    for period in statement.periods:
        unmatched = {(each.feature, each.dimensions) for each in period.unmatched}
        for used in period.usage:
            is_unmatched = (used.feature, used.dimensions) in unmatched
            yield period, used.feature, used.dimensions, used.units, used.calls, is_unmatched
