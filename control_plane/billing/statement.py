"""A customer's statement: what it is charged for the billing periods that begin in a span of time.

It is worked out from usage events, ledgers and what was subscribed to when, each time it is asked
for: usage that comes late is in it. Of a period that runs, fees are whole and usage is what there
is so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sqlalchemy import Connection, select

from control_plane.billing.history import (
    Held,
    HistoryFinder,
    PriceHistory,
    currencies_of,
    load_subscriptions,
)
from control_plane.billing.usage import Payer, UsedUnits, payer_of, used, used_units
from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import require_customer
from control_plane.provisioning.loading import load_customers
from control_plane.storage.tables import customer_ancestor
from weighbridge.rules.catalog import Subscription
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.charge import FEES, Charge, LineItem
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.priced import priced_features
from weighbridge.rules.rating.prices import Price
from weighbridge.rules.rating.spans import Span, rate_spans
from weighbridge.rules.rating.terms import Terms
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.window import Period, Window, WindowKind, window_bounds


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """Whose statement, of the periods that begin from `from_ms` until before `to_ms`.

    `currency` "": the one that the customer's plans are sold in.
    """

    customer: str
    from_ms: int
    to_ms: int
    currency: str = ""


class ChargedLine(NamedTuple):
    """A line item, the plan version it is of, and the span that it charges for.

    `gives_back`: of fees that were charged before, because terms changed or ended.
    """

    item: LineItem
    plan: str
    plan_version: int
    from_ms: int
    until_ms: int
    gives_back: bool = False


@dataclass(frozen=True, slots=True)
class ChargedPeriod:
    """One billing period of a customer ("" resource) or a resource, with its lines.

    `unmatched` is usage that has prices, but none for its dimensions. `usage` is all that was used
    in it, whether it has a price or not.
    """

    resource: str
    every: Period
    start_ms: int
    end_ms: int
    lines: tuple[ChargedLine, ...]
    usage: tuple[UsedUnits, ...] = ()
    unmatched: tuple[Usage, ...] = ()

    @property
    def total_minor(self) -> int:
        return sum(line.item.minor for line in self.lines)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a customer is charged, at `made_at_ms`. `currency` None: nothing has a price."""

    query: StatementQuery
    currency: Currency | None
    made_at_ms: int
    periods: tuple[ChargedPeriod, ...] = field(default_factory=tuple)

    @property
    def total_minor(self) -> int:
        return sum(period.total_minor for period in self.periods)

    @property
    def is_final(self) -> bool:
        """Whether every period in it has ended."""
        last = max((period.end_ms for period in self.periods), default=0)
        return self.made_at_ms >= max(last, self.query.to_ms)


def make_statement(
    connection: Connection, library: CatalogLibrary, query: StatementQuery, now_ms: int
) -> Statement:
    """Work a statement out. Raises NotFoundError, and InvalidArgumentError naming the field."""
    if not 0 <= query.from_ms < query.to_ms:
        raise InvalidArgumentError("to_unix_ms", "is not after from_unix_ms")
    require_customer(connection, "customer", query.customer)
    (customer,) = load_customers(connection, [query.customer])
    subscriptions = load_subscriptions(connection, _with_all_below(connection, query.customer))
    prices = PriceHistory(connection, library, customer.catalog)
    own = {of: found for of, found in subscriptions.items() if of[0] == query.customer}
    code = _currency(prices, query, [s for found in own.values() for s in found], now_ms)
    finder = HistoryFinder(connection, prices, code, now_ms)
    maker = _Maker(connection, query, now_ms)
    periods: list[ChargedPeriod] = []
    for (_, resource), found in sorted(own.items()):
        payer = payer_of(connection, query.customer, resource, subscriptions)
        overrides = [o for o in customer.overrides if o.resource == resource]
        for run in finder.held(found, overrides):
            periods += maker.periods(payer, run)
    return Statement(replace(query, currency=code), maker.currency, now_ms, tuple(periods))


class _Maker:
    """Charges the periods of one statement."""

    def __init__(self, connection: Connection, query: StatementQuery, now_ms: int) -> None:
        self._connection = connection
        self._query = query
        self._now_ms = now_ms
        self.currency: Currency | None = None

    def periods(self, payer: Payer, run: Sequence[Held]) -> Iterator[ChargedPeriod]:
        """Yield the periods of a run with something in the statement's span."""
        if run[0].subscription.is_trial:
            # A trial costs nothing, what is used in it neither.
            return
        every = {price.every: None for held in run for price in _prices(held.terms)}
        for each in every or {Period.MONTH: None}:
            # Before the first of them there was nothing to charge for such a period.
            has = [any(p.every is each for p in _prices(held.terms)) for held in run]
            first = has.index(True) if every else 0
            yield from self._of_every(payer, run[first:], each)

    def _of_every(
        self, payer: Payer, run: Sequence[Held], every: Period
    ) -> Iterator[ChargedPeriod]:
        query, window = self._query, Window(WindowKind.ANNIVERSARY, every)
        anchor_ms, first_ms = run[0].subscription.anchor_ms, run[0].from_ms
        ends_ms = min(query.to_ms, self._now_ms + 1, run[-1].until_ms or query.to_ms)
        at_ms = max(first_ms, query.from_ms)
        while at_ms < ends_ms:
            bounds = window_bounds(window, at_ms, anchor_ms)
            assert bounds.end_ms is not None, "a billing period ends"
            whole = BillingPeriod(bounds.start_ms, bounds.end_ms, every)
            begins_ms = max(bounds.start_ms, first_ms)
            charged = self._charged(payer, run, replace(whole, from_ms=begins_ms))
            if charged.lines or query.from_ms <= begins_ms:
                yield charged
            at_ms = bounds.end_ms

    def _charged(self, payer: Payer, run: Sequence[Held], period: BillingPeriod) -> ChargedPeriod:
        """Charge a period: fees that are due in the statement's span, usage where it begins in it.

        So a change in the middle of a year is charged in the statement of that month.
        """
        held = [each for each in run if _overlaps(each, period)]
        spans = self._spans(payer, held, period, run[-1])
        is_begun_here = self._query.from_ms <= period.served_from_ms
        lines: list[ChargedLine] = []
        unmatched: list[Usage] = []
        for each, _, charges in zip(held, spans, rate_spans(spans, period), strict=True):
            self.currency = self.currency or charges.usage.currency
            for charge in charges.fees:
                if self._query.from_ms <= charge.period.served_from_ms < self._query.to_ms:
                    lines += _lines(each, charge, charge.period)
            if is_begun_here:
                lines += _lines(each, charges.usage, charges.usage.period)
                unmatched += charges.usage.unmatched
        units: Sequence[UsedUnits] = ()
        if is_begun_here:
            units = used_units(self._connection, payer, (spans[0].from_ms, spans[-1].until_ms))
        return ChargedPeriod(
            payer.resource,
            period.every,
            period.start_ms,
            period.end_ms,
            tuple(lines),
            tuple(units),
            tuple(unmatched),
        )

    def _spans(
        self, payer: Payer, held: Sequence[Held], period: BillingPeriod, last: Held
    ) -> list[Span]:
        prices = (p for each in held for p in _prices(each.terms) if p.every is period.every)
        priced = priced_features(held[-1].catalog.features, prices)
        spans = []
        for each in held:
            from_ms, until_ms = _clipped(each, period)
            # What is held is charged once: what there is at the end, to who has it then.
            of = {f: p for f, p in priced.items() if not p.is_held or each is held[-1]}
            found = used(self._connection, payer, of, (from_ms, until_ms)) if of else []
            ends = each is last and each.until_ms is not None
            spans.append(
                Span(each.terms, from_ms, until_ms, tuple(found), each.proration, ends=ends)
            )
        return spans


def _lines(held: Held, charge: Charge, served: BillingPeriod) -> Iterator[ChargedLine]:
    from_ms, until_ms = served.served_from_ms, served.served_until_ms
    for item in charge.lines:
        gives_back = item.origin.kind in FEES and item.minor < 0
        yield ChargedLine(item, held.plan.plan, held.plan.version, from_ms, until_ms, gives_back)


def _overlaps(held: Held, period: BillingPeriod) -> bool:
    return held.from_ms < period.end_ms and (
        held.until_ms is None or held.until_ms > period.served_from_ms
    )


def _clipped(held: Held, period: BillingPeriod) -> tuple[int, int]:
    until_ms = period.end_ms if held.until_ms is None else min(held.until_ms, period.end_ms)
    return max(held.from_ms, period.served_from_ms), until_ms


def _prices(terms: Terms) -> Iterator[Price]:
    yield from terms.prices
    for add_on in terms.add_ons:
        yield from add_on.prices


def _with_all_below(connection: Connection, customer: str) -> list[str]:
    table = customer_ancestor.c
    below = connection.scalars(select(table.customer_id).where(table.ancestor_id == customer))
    return [customer, *below]


def _currency(
    prices: PriceHistory, query: StatementQuery, subscriptions: Sequence[Subscription], now_ms: int
) -> str:
    if query.currency:
        return query.currency
    codes = currencies_of(prices, subscriptions, now_ms)
    if len(codes) > 1:
        problem = f"the plans of {query.customer!r} are sold in {', '.join(codes)}; name one"
        raise InvalidArgumentError("currency", problem)
    return codes[0] if codes else ""
