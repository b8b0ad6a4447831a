"""A billing period within which terms change: each span of it by its own prices.

Fees are due when a period, or what is served of it, begins. A change within it gives back and
charges as the proration of the terms that it goes to says (see `proration`). Usage of a span is
charged by its own prices, whose allowances and tiers begin with what was used before in the period.
A span that ends with nothing after it gives its fees back where its proration is TIME.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.matching import Match
from weighbridge.rules.rating.charge import FEES, Charge
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import Proration
from weighbridge.rules.rating.proration import change_terms
from weighbridge.rules.rating.rate import rate_terms
from weighbridge.rules.rating.terms import Terms
from weighbridge.rules.rating.usage import Usage

NOTHING_DUE = Terms((), 0)


@dataclass(frozen=True, slots=True)
class Span:
    """Terms that held from `from_ms` until before `until_ms`, and what was used under them.

    `ends` says that nothing came after it, before the period was over.
    """

    terms: Terms
    from_ms: int
    until_ms: int
    usage: tuple[Usage, ...] = ()
    proration: Proration = Proration.TIME
    ends: bool = False


class SpanCharges(NamedTuple):
    """What a span is charged: fees (what a change gives back included), and usage."""

    fees: tuple[Charge, ...]
    usage: Charge

    @property
    def total_minor(self) -> int:
        """The sum of all lines."""
        return sum(charge.total_minor for charge in (*self.fees, self.usage))


def rate_spans(spans: Sequence[Span], period: BillingPeriod) -> list[SpanCharges]:
    """Return what each span of a period costs; they follow each other without gaps.

    Raises InvalidArgumentError where they do not, or lie outside of the period; else see
    `rate_terms` and `change_terms`.
    """
    _require_joined(spans, period)
    used: Counter[tuple[str, Match]] = Counter()
    charges = []
    before: Span | None = None
    for span in spans:
        fees = tuple(_fees(before, span, period))
        usage = [_carried(each, used) for each in span.usage]
        served = replace(period, from_ms=span.from_ms, until_ms=span.until_ms)
        charge = rate_terms(span.terms, usage, served)
        lines = tuple(line for line in charge.lines if line.origin.kind not in FEES)
        charges.append(SpanCharges(fees, replace(charge, lines=lines)))
        for each in span.usage:
            used[each.feature, each.dimensions] += each.quantity
        before = span
    return charges


def _fees(before: Span | None, span: Span, period: BillingPeriod) -> Iterator[Charge]:
    rest = replace(period, from_ms=span.from_ms)
    if before is None:
        yield _only_fees(rate_terms(span.terms, (), rest))
    elif before.terms != span.terms:
        change = change_terms(before.terms, span.terms, period, span.from_ms, span.proration)
        yield from (change.credit, change.charge)
    if span.ends and span.proration is Proration.TIME and span.until_ms < period.served_until_ms:
        end = change_terms(span.terms, NOTHING_DUE, period, span.until_ms, Proration.TIME)
        yield end.credit


def _only_fees(charge: Charge) -> Charge:
    return replace(charge, lines=tuple(x for x in charge.lines if x.origin.kind in FEES))


def _carried(usage: Usage, used: Counter[tuple[str, Match]]) -> Usage:
    carried = used[usage.feature, usage.dimensions]
    return replace(usage, carried=carried) if carried else usage


def _require_joined(spans: Sequence[Span], period: BillingPeriod) -> None:
    at_ms = spans[0].from_ms if spans else period.served_from_ms
    for span in spans:
        if span.from_ms != at_ms or span.from_ms >= span.until_ms:
            problem = f"one begins at {span.from_ms} ms, the one before it ends at {at_ms} ms"
            raise InvalidArgumentError("spans", problem)
        at_ms = span.until_ms
    if spans and not period.served_from_ms <= spans[0].from_ms <= at_ms <= period.served_until_ms:
        raise InvalidArgumentError("spans", "are not within the period")
