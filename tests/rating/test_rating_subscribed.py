"""From a catalog to terms: the subscription's currency, and allowances as the customer has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from rating_values import EUR, MONTH, USD, calls, flat, of_usage, per_unit

from weighbridge.rules.catalog import AddOn, Entitlement, Limit, LimitKind, PlanVersion
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.prices import Price
from weighbridge.rules.rating.rate import rate_terms
from weighbridge.rules.rating.subscribed import terms_of
from weighbridge.rules.window import Period, Window, WindowKind

WINDOW = Window(WindowKind.CALENDAR, Period.MONTH)
PAST = of_usage(per_unit("0.01"), past_limit="month")


def granting(*limits: tuple[str, int | None], enabled: bool = True) -> Mapping[str, Entitlement]:
    built = tuple(Limit(id_, LimitKind.SOFT, limit, WINDOW) for id_, limit in limits)
    return {"calls": Entitlement("calls", enabled=enabled, limits=built)}


def plan(*prices: Price) -> PlanVersion:
    return PlanVersion("pro", 1, "Pro", granting(("month", 100)), prices=prices)


@pytest.mark.parametrize(
    ("entitlements", "charged"),
    [
        (granting(("month", 100)), 900),
        (granting(("day", 5), ("month", 250)), 750),
        (granting(("month", 0)), 1_000),
        (granting(("month", None)), 0),
        (granting(), 0),
        (granting(("day", 5)), 1_000),
        (granting(("month", 100), enabled=False), 1_000),
        ({}, 1_000),
    ],
)
def test_past_a_limit_as_the_customer_has_it(
    entitlements: Mapping[str, Entitlement], charged: int
) -> None:
    terms = terms_of(plan(PAST), (), entitlements, 1, "USD")
    assert rate_terms(terms, [calls(1_000)], MONTH).total_minor == charged


def test_an_add_on_bought_often_has_the_limit_once() -> None:
    add_on = AddOn("cheaper", "Cheaper", {}, prices=(PAST,))
    terms = terms_of(plan(), [(add_on, 3)], granting(("month", 100)), 1, "USD")
    assert rate_terms(terms, [calls(150)], MONTH).total_minor == 50


def test_only_the_currency_of_the_subscription_is_charged() -> None:
    both = plan(flat("10"), replace(flat("9"), currency=EUR))
    free = AddOn("free", "Free", {})
    for code, currency, total in (("USD", USD, 10), ("EUR", EUR, 9)):
        charge = rate_terms(terms_of(both, [(free, 1)], {}, 1, code), (), MONTH)
        assert (charge.currency, charge.total_minor) == (currency, 100 * total)


def test_a_currency_that_it_is_not_sold_in_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="plan 'pro' has no prices in EUR, but USD"):
        terms_of(plan(flat("10")), (), {}, 1, "EUR")
    add_on = AddOn("more", "More", {}, prices=(flat("1"),))
    with pytest.raises(InvalidArgumentError, match="add-on 'more' has no prices in EUR"):
        terms_of(plan(), [(add_on, 1)], {}, 1, "EUR")


def test_a_plan_without_prices_costs_nothing() -> None:
    assert rate_terms(terms_of(plan(), (), {}, 5, "EUR"), [calls(5)], MONTH).total_minor == 0
