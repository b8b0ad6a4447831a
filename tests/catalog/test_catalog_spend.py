"""Spend meters in a catalog: what they compile to, and what is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from catalog_samples import compiled, error_of, line_with

from control_plane.catalog import diff_catalogs
from weighbridge.rules.catalog import LimitKind, Meter, OutageKind
from weighbridge.rules.lease import Consistency
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.spend import SPEND_MAX, Spend
from weighbridge.rules.window import WindowKind

SPENDING = """\
catalog: mail
features:
  tokens: {type: metered}
  seats: {type: metered, meter: allocation}
  sso: {type: boolean}
  spend: {type: metered, meter: spend, currency: USD, name: Spending}
  token_spend:
    type: metered
    meter: spend
    currency: USD
    of: [tokens]
plans:
  pro:
    features:
      tokens: unlimited
      spend:
        limits:
          - {limit: 50, window: day}
          - {limit: 499.995, window: {anniversary: month}, kind: soft}
      token_spend: {limits: [{limit: 2, window: day, per_seat: true}]}
    prices:
      USD:
        - {feature: tokens, per_unit: 0.01}
add_ons:
  more:
    features:
      spend: {limits: [{id: day, limit: 0.5}]}
"""


def changed(*pairs: tuple[str, str]) -> str:
    text = SPENDING
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def test_money_is_counted_in_micros_of_the_minor_unit() -> None:
    catalog = compiled(SPENDING)
    spend = catalog.features["spend"]
    assert (spend.meter, spend.spend) == (Meter.SPEND, Spend(Currency("USD", 2)))
    assert spend.unit == "10^-8 USD"
    assert (spend.consistency, spend.outage.kind) == (Consistency.LEASED, OutageKind.LEASED)
    assert catalog.features["token_spend"].spend == Spend(Currency("USD", 2), ("tokens",))
    day, month = catalog.plans["pro"][1].entitlements["spend"].limits
    assert (day.limit, day.kind, day.window.kind) == (
        50 * 10**8,
        LimitKind.HARD,
        WindowKind.CALENDAR,
    )
    assert (month.limit, month.kind) == (int(Decimal("499.995") * 10**8), LimitKind.SOFT)
    (added,) = catalog.add_ons["more"].entitlements["spend"].limits
    assert (added.limit, added.window) == (5 * 10**7, day.window)


def test_a_minor_unit_is_what_the_currency_says() -> None:
    yen = changed(
        ("currency: USD, name", "currency: JPY, name"),
        ("limit: 499.995", "limit: 499.999999"),
        ("limit: 0.5}", "limit: 5}"),
    )
    day, month = compiled(yen).plans["pro"][1].entitlements["spend"].limits
    assert (day.limit, month.limit) == (50 * 10**6, 499_999_999)


def test_a_difference_is_told_in_money() -> None:
    after = compiled(changed(("limit: 50,", "limit: 75.5,"), ("of: [tokens]", "of: [tokens]")), 2)
    (change,) = diff_catalogs(compiled(SPENDING), after)
    assert (change.path, change.before, change.after) == (
        "plans.pro.features.spend.limits.day.limit",
        "50 USD",
        "75.5 USD",
    )
    assert change.plans == {"pro"}


@pytest.mark.parametrize(
    ("pair", "path", "problem"),
    [
        (("currency: USD, name", "name"), "features.spend.currency", "is missing"),
        (("currency: USD, name", "currency: XAU, name"), "features.spend.currency", "ISO 4217"),
        (("name: Spending", "unit: cent"), "features.spend.unit", "always leased"),
        (("name: Spending", "consistency: cached"), "features.spend.consistency", "always leased"),
        (("name: Spending", "enforcement: observe"), "features.spend.enforcement", "leave it out"),
        (
            ("tokens: {type: metered}", "tokens: {type: metered, currency: USD}"),
            "features.tokens.currency",
            "belongs to a feature with meter: spend",
        ),
        (("of: [tokens]", "of: [token]"), "features.token_spend.of[0]", "there is no feature"),
        (("of: [tokens]", "of: [seats]"), "features.token_spend.of[0]", "no usage that costs"),
        (("of: [tokens]", "of: [spend]"), "features.token_spend.of[0]", "no usage that costs"),
        (("of: [tokens]", "of: [tokens, tokens]"), "features.token_spend.of[1]", "there twice"),
        (
            ("tokens: unlimited", "tokens: {limits: [{limit: 1.5, window: day}]}"),
            "plans.pro.features.tokens.limits[0].limit",
            "must be an integer, but is the number 1.5; only money has fractions",
        ),
        (
            ("limit: 50, window: day", "limit: 50, window: {rolling: day}"),
            "plans.pro.features.spend.limits[0].window",
            "calendar, anniversary or lifetime",
        ),
        (
            ("limit: 499.995", "limit: 0.000000001"),
            "plans.pro.features.spend.limits[1].limit",
            "has more than 8 decimal places",
        ),
        (
            ("limit: 499.995", f"limit: {SPEND_MAX // 10**8 + 1}"),
            "plans.pro.features.spend.limits[1].limit",
            "is too large; at most 10000000000",
        ),
        (
            (
                "token_spend: {limits: [{limit: 2, window: day, per_seat: true}]}",
                "token_spend: {rates: [{limit: 2, per: second}]}",
            ),
            "plans.pro.features.token_spend.rates",
            "cannot be given of a spend meter",
        ),
        (
            ("feature: tokens, per_unit", "feature: spend, per_unit"),
            "plans.pro.prices.USD[0].feature",
            "nothing to price",
        ),
        (
            ("per_unit: 0.01", "volume: [{up_to: 10, unit: 2}, {unit: 1}]"),
            "plans.pro.prices.USD[0].volume",
            "write graduated: spend counts what its usage costs, and has to bound it",
        ),
        (
            ("per_unit: 0.01", "percent: 2, of: usage"),
            "plans.pro.prices.USD[0].percent",
            "is a percentage",
        ),
        (
            ("{feature: tokens, per_unit: 0.01}", "{minimum: 5}"),
            "plans.pro.prices.USD[0].minimum",
            "charges what was not used",
        ),
        (
            ("{feature: tokens, per_unit: 0.01}", "{feature: tokens, commitment: 5}"),
            "plans.pro.prices.USD[0].commitment",
            "pays for usage in advance",
        ),
    ],
)
def test_one_clear_error(pair: tuple[str, str], path: str, problem: str) -> None:
    text = changed(pair)
    found_path, line, found = error_of(text)
    assert (found_path, problem in found) == (path, True), found
    # The line of the key, or of the mapping that lacks it.
    assert line in (line_with(text, pair[1]), line_with(text, "  spend:")), line


@pytest.mark.parametrize(
    "pair",
    [
        ("{feature: tokens, per_unit: 0.01}", "{percent: 2, of: fees}"),
        ("{feature: tokens, per_unit: 0.01}", "{of: seats, volume: [{unit: 1}]}"),
        ("      USD:\n        - {feature: tokens, per_unit: 0.01}", "      EUR: [{minimum: 5}]"),
    ],
)
def test_what_is_not_of_that_usage_may_be_priced_in_any_way(pair: tuple[str, str]) -> None:
    assert compiled(changed(pair)).plans["pro"][1].prices


def test_a_price_of_an_add_on_is_bounded_too() -> None:
    text = changed(
        (
            "  more:\n",
            "  more:\n    prices: {USD: [{feature: tokens, volume: [{unit: 1}]}]}\n",
        )
    )
    path, _, problem = error_of(text)
    assert path == "add_ons.more.prices.USD[0].volume"
    assert "write graduated" in problem


def test_money_is_nothing_to_pay_with_credits() -> None:
    text = SPENDING + "credit_types: {c: {costs: [{feature: spend, cost: 1}]}}\n"
    path, _, problem = error_of(text)
    assert (path, "money that other usage costs" in problem) == (
        "credit_types.c.costs[0].feature",
        True,
    )
