"""Quotes: what usage would cost, by the rating rules, and what a hold of it would take."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from sidecar.core.decided import NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.quoting import Asked, CreditAmount, Item, Quoted, quote
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import Mode
from sidecar.wire.quote import ITEMS_MAX, asked_from_proto, quote_to_proto
from tests.sidecar.gate_world import MOMENT, START_MS, Driver, customer, make_gate, soft
from tests.sidecar.test_money import DOLLAR, spending_catalog
from weighbridge.rules.catalog import CreditDraw, Entitlement
from weighbridge.rules.credits import CreditCost, CreditType
from weighbridge.rules.decision import Reason
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import QuantityPrice
from weighbridge.rules.rating.rate import rate
from weighbridge.rules.rating.tiers import UnitRate
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.window import Period, Window, WindowKind
from weighbridge.v1 import sidecar_service_pb2 as pb

MONTH = Window(WindowKind.ANNIVERSARY, Period.MONTH)
PERIOD = BillingPeriod(START_MS, START_MS + 30 * 86_400_000)


def priced_gate() -> Gate:
    """Return a gate where `tokens` has an allowance in a month whose total is known."""
    gate = make_gate()
    base = spending_catalog()
    free = base.plans["free"][1]
    tokens = QuantityPrice(
        key="t",
        currency=Currency("USD", 2),
        rate=UnitRate(Decimal("0.003")),
        feature="tokens",
        past_limit="month",
    )
    granted = {
        **free.entitlements,
        "tokens": Entitlement("tokens", limits=(soft(100, MONTH),)),
        "safe": Entitlement("safe", credit=CreditDraw("gems")),
    }
    plan = replace(free, entitlements=granted, prices=(*free.prices, tokens))
    gems = CreditType("gems", costs={"safe": (CreditCost("safe", 2_500_000),)})
    gate.cache.apply_catalog(
        replace(
            base, version=4, plans={**base.plans, "free": {1: plan}}, credit_types={"gems": gems}
        )
    )
    return gate


def ask(gate: Gate, *items: Item, currency: str = "") -> Quoted:
    quoted = quote(gate, Asked("acme", "", items, currency), MOMENT)
    assert isinstance(quoted, Quoted)
    return quoted


def test_a_quote_is_what_rating_charges() -> None:
    gate = priced_gate()
    items = (
        Item("unlimited", 4),
        Item("unlimited", 5),
        Item("unlimited", 2, (("model", "small"),)),
    )
    quoted = ask(gate, *items)
    plan = gate.cache.compiler("shop").catalog.plans["free"][1]  # type: ignore[union-attr]
    used = [Usage(item.feature, item.amount, item.dimensions) for item in items]
    charge = rate(
        [price for price in plan.prices if price.feature == "unlimited"],  # type: ignore[union-attr]
        used,
        1,
        PERIOD,
    )
    assert tuple(line.item for line in quoted.lines) == charge.lines
    response = quote_to_proto(quoted)
    assert (response.total, response.total_minor) == (str(charge.total), charge.total_minor)
    assert (response.currency, response.exponent) == ("USD", 2)
    assert [line.is_used_assumed for line in response.lines] == [True, True]


def test_what_was_used_before_fills_the_allowance() -> None:
    gate = priced_gate()
    driver = Driver(gate)
    assert driver.report("tokens", 70).verdict.allowed
    (line,) = ask(gate, Item("tokens", 50)).lines
    assert (line.used, line.included, line.item.quantity) == (70, 30, 50)
    assert (line.item.amount, line.item.minor) == (Decimal("0.060"), 6)
    message = quote_to_proto(ask(gate, Item("tokens", 50))).lines[0]
    assert (message.included_amount, message.charged_amount, message.cost) == (30, 20, "0.06")
    assert not message.is_used_assumed


def test_it_says_whether_it_would_pass_and_what_a_hold_takes() -> None:
    quoted = ask(priced_gate(), Item("unlimited", 5), Item("unlimited", 6), Item("tokens", 3))
    fits, too_much, tokens = quoted.items
    assert fits.decided.verdict.allowed
    assert [(held.spend.id, held.micros) for held in fits.money] == [("spend", 10 * DOLLAR)]
    assert too_much.decided.verdict.reason is Reason.SPEND_LIMIT_REACHED
    assert too_much.decided.verdict.allowed_amount == 5
    assert [held.micros for held in tokens.money] == [3 * 300_000]


def test_credits_are_rounded_once_for_all_items() -> None:
    gate = priced_gate()
    quoted = ask(gate, Item("safe", 3), Item("safe", 1))
    assert quoted.credits == (CreditAmount("gems", 10),)
    assert [item.credits for item in quoted.items] == [
        CreditAmount("gems", 8),
        CreditAmount("gems", 3),
    ]


def test_nothing_is_changed() -> None:
    gate = priced_gate()
    before = len(gate.leases.low), dict(gate.decisions)
    ask(gate, Item("unlimited", 5), Item("denying", 1))
    assert (len(gate.leases.low), dict(gate.decisions)) == before
    usage = gate.book.open("acme", ("", "unlimited"))
    assert not usage.has_own


def test_what_is_unknown_is_refused_and_the_rest_is_priced() -> None:
    quoted = ask(priced_gate(), Item("nothing", 5), Item("unlimited", 1), Item("sso", 1))
    reasons = [item.decided.verdict.reason for item in quoted.items]
    assert reasons == [Reason.FEATURE_UNKNOWN, None, Reason.FEATURE_NOT_IN_PLAN]
    assert [line.item.minor for line in quoted.lines] == [100]
    gate = priced_gate()
    gate.cache.apply_absent("nobody", 5)
    unknown = quote(gate, Asked("nobody", "", (Item("unlimited", 1),)), MOMENT)
    assert isinstance(unknown, Quoted)
    assert unknown.items[0].decided.verdict.reason is Reason.CUSTOMER_UNKNOWN
    assert quote_to_proto(unknown).total == ""


def test_a_customer_that_is_not_here_is_waited_for() -> None:
    gate = make_gate(Mode.ON_DEMAND)
    found = quote(gate, Asked("later", "", (Item("unlimited", 1),)), MOMENT)
    assert found == NotLoaded("later")


def test_a_currency_that_the_plan_is_not_sold_in_is_a_broken_question() -> None:
    with pytest.raises(InvalidArgumentError, match="no prices in EUR"):
        ask(priced_gate(), Item("unlimited", 1), currency="EUR")


def test_a_plan_without_prices_quotes_units_alone() -> None:
    gate = make_gate()
    quoted = ask(gate, Item("tokens", 150))
    assert (quoted.lines, quoted.currency) == ((), None)
    assert quoted.items[0].decided.verdict.overage == 50


def test_who_inherits_is_priced_on_what_it_inherits() -> None:
    gate = priced_gate()
    child = replace(customer("child"), subscriptions=(), parent="acme")
    gate.cache.apply_customer(child)
    quoted = quote(gate, Asked("child", "", (Item("tokens", 5),)), MOMENT)
    assert isinstance(quoted, Quoted)
    (line,) = quoted.lines
    assert line.used is None
    assert quoted.plan == "free"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.QuoteRequest(customer="acme"), "items"),
        (
            pb.QuoteRequest(customer="acme", items=[pb.QuoteItem(feature="x")] * (ITEMS_MAX + 1)),
            "items",
        ),
        (pb.QuoteRequest(items=[pb.QuoteItem(feature="x")]), "customer"),
        (pb.QuoteRequest(customer="a", items=[pb.QuoteItem()]), "items[0].feature"),
        (
            pb.QuoteRequest(customer="a", items=[pb.QuoteItem(feature="x", amount=-1)]),
            "items[0].amount",
        ),
        (
            pb.QuoteRequest(
                customer="a", items=[pb.QuoteItem(feature="x", dimensions={"a b": "c"})]
            ),
            "items[0].dimensions",
        ),
        (
            pb.QuoteRequest(
                customer="a",
                items=[pb.QuoteItem(feature="x", dimensions={str(n): "" for n in range(17)})],
            ),
            "items[0].dimensions",
        ),
    ],
)
def test_a_broken_question_names_its_field(message: pb.QuoteRequest, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        asked_from_proto(message)
    assert caught.value.field == field


def test_a_check_is_what_it_decides_by() -> None:
    gate = priced_gate()
    (item,) = ask(gate, Item("unlimited", 2)).items
    assert item.decided.request == Request(Kind.CHECK, "acme", "", "unlimited", 2)
