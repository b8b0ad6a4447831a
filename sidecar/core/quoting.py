"""What usage that did not happen would cost, on the customer's own plan version, and if it passes.

By the rating rules, as what it adds to the charge of each billing period. What was used before in
the period is known from totals where a limit counts in that very period; else it is taken as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sidecar.core.decided import Decided, NotLeased, NotLoaded, Subject
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.money import monies_of
from sidecar.core.request import Kind, Request
from weighbridge.rules.catalog import Feature, FeatureType
from weighbridge.rules.credits import CreditType, Used, credit_cost
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.granting import Grant
from weighbridge.rules.matching import Match
from weighbridge.rules.rating.charge import LineItem
from weighbridge.rules.rating.metered import usage_lines
from weighbridge.rules.rating.money import Currency, exact
from weighbridge.rules.rating.prices import Price, QuantityPrice, currencies, usage_price
from weighbridge.rules.rating.subscribed import terms_of
from weighbridge.rules.rating.terms import Sold, Terms, sold
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.window import Period, WindowKind


class Item(NamedTuple):
    """Usage to be quoted."""

    feature: str
    amount: int
    dimensions: Match = ()


class Asked(NamedTuple):
    """A question for a quote; no `currency`: the only one there is."""

    customer: str
    resource: str
    items: tuple[Item, ...]
    currency: str = ""


class MoneyHeld(NamedTuple):
    """The most that usage can cost under a spend limit."""

    spend: Feature
    micros: int


class CreditAmount(NamedTuple):
    """Credits of a type, in micro-credits."""

    credit_type: str
    micro: int


class QuotedItem(NamedTuple):
    """One item: what a Check of it answers, and what a Reserve of it would hold at most."""

    decided: Decided
    money: tuple[MoneyHeld, ...] = ()
    credits: CreditAmount | None = None


class QuotedLine(NamedTuple):
    """What all items that go to one price come to; `used` None: not known, and taken as 0."""

    item: LineItem
    every: Period
    included: int
    used: int | None


class Quoted(NamedTuple):
    """The quote. No `currency`: nothing has a price."""

    items: tuple[QuotedItem, ...]
    lines: tuple[QuotedLine, ...] = ()
    currency: Currency | None = None
    credits: tuple[CreditAmount, ...] = ()
    unmatched: tuple[str, ...] = ()
    plan: str = ""
    plan_version: int = 0


def quote(gate: Gate, asked: Asked, moment: Moment) -> Quoted | NotLoaded:
    """Return the quote; NotLoaded where the customer has to be loaded first. Changes nothing.

    Raises InvalidArgumentError for a broken question: a currency that the plan is not sold in.
    """
    decisions = []
    for item in asked.items:
        decided = gate.decide(_request(asked, item), moment)
        assert not isinstance(decided, NotLeased), "a check waits for no lease"
        if isinstance(decided, NotLoaded):
            return decided
        decisions.append(decided)
    plain = tuple(map(QuotedItem, decisions))
    resolved = gate.resolve(asked.customer, asked.resource, moment)
    if not isinstance(resolved, tuple) or isinstance(resolved, NotLoaded):
        return Quoted(plain)
    state, compiler, grant = resolved
    if not isinstance(grant, Grant):
        return Quoted(plain)
    subjects: list[Subject | None] = []
    for item, decided in zip(asked.items, decisions, strict=True):
        if decided.feature is not None:
            request = _request(asked, item)
            subjects.append(Subject(request, state, compiler, grant, decided.feature, moment))
        else:
            subjects.append(None)
    return _priced(gate, asked, plain, subjects)


def _request(asked: Asked, item: Item) -> Request:
    return Request(
        Kind.CHECK,
        asked.customer,
        asked.resource,
        item.feature,
        item.amount,
        dimensions=item.dimensions,
    )


def _priced(
    gate: Gate, asked: Asked, items: Sequence[QuotedItem], subjects: Sequence[Subject | None]
) -> Quoted:
    known = [subject for subject in subjects if subject is not None and _is_metered(subject)]
    quoted = tuple(
        item if subject is None or subject not in known else _with_holds(gate, item, subject)
        for item, subject in zip(items, subjects, strict=True)
    )
    if not known:
        return Quoted(quoted)
    grant = known[0].grant
    found = Quoted(
        quoted,
        credits=_credits(known),
        plan=grant.plan.plan,
        plan_version=grant.plan.version,
    )
    terms = _terms(known[0], asked.currency)
    if terms is None:
        return found
    lines, unmatched = _lines(gate, known, terms)
    return found._replace(
        lines=tuple(lines), currency=terms.prices[0].currency, unmatched=tuple(unmatched)
    )


def _is_metered(subject: Subject) -> bool:
    """Whether the plan grants usage of the feature: what it lacks costs nothing."""
    granted = subject.grant.entitlements.get(subject.feature.id)
    is_granted = granted is not None and granted.enabled
    return is_granted and subject.feature.type is FeatureType.METERED


def _with_holds(gate: Gate, item: QuotedItem, subject: Subject) -> QuotedItem:
    monies = monies_of(subject, gate.book, gate.cache, lambda _: None)
    held = {money.spend.id: MoneyHeld(money.spend, money.micros) for money in monies}
    credits_ = _credits([subject])
    return item._replace(money=tuple(held.values()), credits=credits_[0] if credits_ else None)


def _credits(subjects: Iterable[Subject]) -> tuple[CreditAmount, ...]:
    """Return what usage costs in credits, by type: summed, and rounded once."""
    receipts: dict[str, list[Used]] = {}
    types: Mapping[str, CreditType] = {}
    for subject in subjects:
        granted = subject.grant.entitlements.get(subject.feature.id)
        if granted is not None and granted.credit is not None:
            request = subject.request
            used = Used(request.feature, request.units, request.dimensions)
            receipts.setdefault(granted.credit.credit_type, []).append(used)
            types = subject.compiler.catalog.credit_types
    return tuple(
        CreditAmount(id_, credit_cost(types[id_], receipt)) for id_, receipt in receipts.items()
    )


def _terms(subject: Subject, code: str) -> Terms | None:
    """Return what the subscription pays by in a currency; None where it has no prices."""
    grant, catalog = subject.grant, subject.compiler.catalog
    bought = [
        (add_on, item.quantity)
        for item in grant.subscription.add_ons
        if (add_on := catalog.add_ons.get(item.add_on)) is not None
    ]
    codes = [each.code for each in currencies(grant.plan.prices)]
    if not codes:
        return None
    if not code and len(codes) > 1:
        raise InvalidArgumentError(
            "currency", f"plan {grant.plan.plan!r} is sold in {', '.join(codes)}; name one"
        )
    seats = grant.subscription.quantity
    return terms_of(grant.plan, bought, grant.entitlements, seats, code or codes[0])


def _lines(
    gate: Gate, subjects: Sequence[Subject], terms: Terms
) -> tuple[list[QuotedLine], list[str]]:
    prices = [*terms.prices, *(price for add_on in terms.add_ons for price in add_on.prices)]
    lines: list[QuotedLine] = []
    unmatched: dict[str, None] = {}
    with exact():
        for every in dict.fromkeys(price.every for price in prices):
            due = list(sold(terms, every))
            used = {s.feature.id: _used_before(gate, s, due, every) for s in subjects}
            charged, left = usage_lines(due, _usage(subjects, used), terms.seats)
            unmatched.update(dict.fromkeys(each.feature for each in left))
            lines += [
                _line(line, every, due, used[line.origin.feature], terms.seats) for line in charged
            ]
    return lines, list(unmatched)


def _usage(subjects: Sequence[Subject], used: dict[str, int | None]) -> list[Usage]:
    """Return the usage; what was used before goes with the first of its feature."""
    first: set[str] = set()
    usage = []
    for subject in subjects:
        request = subject.request
        carried = 0 if request.feature in first else used[request.feature] or 0
        first.add(request.feature)
        usage.append(Usage(request.feature, request.units, request.dimensions, carried))
    return usage


def _used_before(gate: Gate, subject: Subject, due: Sequence[Sold], every: Period) -> int | None:
    """Return what was used of a feature so far in its billing period, where totals tell.

    Of several prices nobody here knows which of them it went to; and others may share them.
    """
    request, grant, moment = subject.request, subject.grant, subject.moment
    entitlement = grant.entitlements[request.feature]
    charging = [price for each in due if (price := usage_price(each.price)) is not None]
    of_feature = [price for price in charging if price.feature == request.feature]
    is_one = len(of_feature) == 1 and not of_feature[0].match
    if grant.inherited_from or not is_one or not entitlement.limits:
        return None
    usage = gate.book.open(request.customer, (request.resource, request.feature))
    states, _ = usage.states(entitlement, grant.subscription.anchor_ms, moment.now_ms)
    for state in states:
        window = state.limit.window
        is_utc = window.time_zone == "UTC"
        if window.kind is WindowKind.ANNIVERSARY and window.period is every and is_utc:
            return state.used
    return None


def _line(
    line: LineItem, every: Period, due: Sequence[Sold], used: int | None, seats: int
) -> QuotedLine:
    origin = line.origin
    price, pieces = next(
        (each.price, each.pieces)
        for each in due
        if (each.price.key, each.add_on) == (origin.key, origin.add_on)
    )
    included = _included(price, pieces, seats, (used or 0, line.quantity))
    return QuotedLine(line, every, included, used)


def _included(price: Price, pieces: int, seats: int, units: tuple[int, int]) -> int:
    """Return how many of the units after those used before are within the allowance."""
    if not isinstance(price, QuantityPrice):
        return 0
    used, quantity = units
    return min(max(price.allowance(seats, pieces) - used, 0), quantity)
