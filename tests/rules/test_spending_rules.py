"""What is drawn at the dearest price covers what usage costs, however it is split and ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    Meter,
    PlanVersion,
    SubscribedAddOn,
)
from weighbridge.rules.dearest import Dearest, cost_so_far
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.lease import Consistency
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import QuantityPrice
from weighbridge.rules.rating.rate import rate
from weighbridge.rules.rating.tiers import Package, Tier, TierMode, TierTable, UnitRate
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.spend import Spend, micros_of, money_of
from weighbridge.rules.spending import (
    PricedBy,
    chargeable,
    cost_of,
    most_micros,
    units_within,
)
from weighbridge.rules.window import Period, Window, WindowKind

USD = Currency("USD", 2)
JPY = Currency("JPY", 0)
MONTH = BillingPeriod(0, 30 * 86_400_000)

amounts = st.decimals(0, 1_000, places=9, allow_nan=False).map(abs)
tiers = st.lists(
    st.tuples(st.integers(1, 50), amounts, st.just(Decimal(0)) | amounts), min_size=0, max_size=4
)


def _table(parts: Sequence[tuple[int, Decimal, Decimal]], last: Decimal, per: int) -> TierTable:
    bound = 0
    made = []
    for width, unit, flat in parts:
        bound += width
        made.append(Tier(bound, unit, flat))
    return TierTable(TierMode.GRADUATED, (*made, Tier(None, last)), per)


rates = st.one_of(
    st.builds(UnitRate, amounts, st.integers(1, 1_000)),
    st.builds(Package, amounts, st.integers(1, 20)),
    st.builds(_table, tiers, amounts, st.integers(1, 1_000)),
)
prices = st.builds(
    QuantityPrice,
    key=st.just("p"),
    currency=st.sampled_from([USD, JPY]),
    rate=rates,
    feature=st.just("tokens"),
    included=st.integers(0, 60),
)
calls = st.lists(st.integers(0, 40), max_size=20)


def priced(price: QuantityPrice) -> PricedBy:
    return PricedBy(price, 1, Dearest(price), 0)


@given(prices, calls, st.integers(0, 200))
def test_what_is_drawn_covers_what_it_costs_in_any_order(
    price: QuantityPrice, calls: list[int], before: int
) -> None:
    each = priced(price)
    used, cost, drawn = before, 0, 0
    for units in calls:
        true = cost_of(each, price.included, used, units)
        most = each.dearest.micros(units)
        assert 0 <= true <= most
        used, cost, drawn = used + units, cost + true, drawn + most
    # A record sums calls: what it cost in one is what it cost in parts.
    assert cost == cost_of(each, price.included, before, sum(calls))
    assert each.dearest.micros(sum(calls)) <= drawn or not calls


@given(prices, calls)
def test_the_parts_come_to_what_rating_charges(price: QuantityPrice, calls: list[int]) -> None:
    used = cost = 0
    for units in calls:
        cost += cost_of(priced(price), price.included, used, units)
        used += units
    charge = rate([price], [Usage("tokens", used)], 1, MONTH)
    (line,) = charge.lines
    exact = sum(
        (Fraction(segment.amount(line.detail.per)) for segment in line.detail.segments), Fraction(0)
    )
    micros = exact / line.detail.per * 10 ** (price.currency.exponent + 6)
    assert micros <= cost < micros + 1


@given(prices, st.integers(0, 10**12), st.integers(0, 1_000))
def test_so_many_units_pass_as_money_covers(price: QuantityPrice, micros: int, most: int) -> None:
    found = [priced(price)]
    units = units_within(found, micros, most)
    assert most_micros(found, units) <= micros or units == 0
    assert units == most or most_micros(found, units + 1) > micros


@given(st.integers(0, 10**18), st.sampled_from([USD, JPY]))
def test_micros_and_money_are_the_same(micros: int, currency: Currency) -> None:
    assert micros_of(money_of(micros, currency), currency) == micros


def test_finer_than_a_micro_is_no_amount_to_limit() -> None:
    assert micros_of(Decimal("0.00000001"), USD) == 1
    assert micros_of(Decimal("0.000000001"), USD) is None
    assert micros_of(Decimal("0.000001"), JPY) == 1


def test_a_volume_table_of_before_is_reckoned_at_its_dearest_tier() -> None:
    table = TierTable(TierMode.VOLUME, (Tier(10, Decimal(2), Decimal(3)), Tier(None, Decimal(1))))
    price = QuantityPrice(key="p", currency=USD, rate=table, feature="tokens")
    assert Dearest(price).micros(4) == (4 * 2 + 3) * 10**8
    assert cost_so_far(price, 11) == 11 * 10**8
    assert cost_of(priced(price), 0, 10, 1) == 0


TOKENS = Feature("tokens", FeatureType.METERED, consistency=Consistency.LEASED)
SPEND = Feature("spend", FeatureType.METERED, meter=Meter.SPEND, spend=Spend(USD))


def _price(**changes: object) -> QuantityPrice:
    base = QuantityPrice(key="p", currency=USD, rate=UnitRate(Decimal(1)), feature="tokens")
    return replace(base, **changes)


def _limit(limit: int | None, window: Window, kind: LimitKind = LimitKind.HARD) -> Entitlement:
    return Entitlement("tokens", limits=(Limit("x", kind, limit, window),))


ANNIVERSARY = Window(WindowKind.ANNIVERSARY, Period.MONTH)
LIFETIME = Window(WindowKind.LIFETIME)


@pytest.mark.parametrize(
    ("feature", "entitlement", "is_free"),
    [
        (TOKENS, _limit(100, ANNIVERSARY), True),
        (TOKENS, _limit(100, LIFETIME), True),
        (TOKENS, _limit(101, LIFETIME), False),
        (TOKENS, _limit(None, LIFETIME), False),
        (TOKENS, _limit(100, ANNIVERSARY, LimitKind.SOFT), False),
        (TOKENS, _limit(100, Window(WindowKind.ANNIVERSARY, Period.DAY)), False),
        (TOKENS, _limit(100, Window(WindowKind.CALENDAR, Period.MONTH)), False),
        (replace(TOKENS, consistency=Consistency.CACHED), _limit(100, LIFETIME), False),
        (TOKENS, Entitlement("tokens"), False),
        (TOKENS, None, False),
    ],
)
def test_an_allowance_is_free_where_a_leased_limit_keeps_usage_within_it(
    feature: Feature, entitlement: Entitlement | None, *, is_free: bool
) -> None:
    found = chargeable([priced(_price(included=100))], feature, entitlement, 1)
    assert (found == []) is is_free


def test_prices_are_found_as_rating_assigns_them() -> None:
    own = _price(key="own")
    special = _price(key="special", match=(("model", "large"),))
    yearly = _price(key="yearly", every=Period.YEAR)
    euro = _price(key="euro", currency=Currency("EUR", 2))
    bought = _price(key="bought", match=(("model", "large"),))
    plan = PlanVersion("pro", 1, "Pro", {}, prices=(own, special, yearly, euro))
    add_on = AddOn("more", "More", {}, prices=(bought,))
    catalog = Catalog(
        "c", 1, {"tokens": TOKENS, "spend": SPEND}, {"pro": {1: plan}}, {"more": add_on}
    )
    compiler = PlanCompiler(catalog)
    assert compiler.spending == {"tokens": (SPEND,)}
    sold = compiler.prices(plan, (SubscribedAddOn("more", 3),), "USD")
    assert sold is compiler.prices(plan, (SubscribedAddOn("more", 3),), "USD")

    def keys(**dimensions: str) -> list[tuple[str, int]]:
        found = sold.find("tokens", tuple(sorted(dimensions.items())))
        return [(each.price.key, each.pieces) for each in found]

    assert keys() == [("own", 1), ("yearly", 1)]
    assert keys(model="large") == [("bought", 3), ("yearly", 1)]
    assert [each.price.key for each in sold.of("tokens", Period.MONTH)] == [
        "bought",
        "own",
        "special",
    ]
    assert sold.of("tokens", Period.DAY) == ()
    assert sold.find("other", ()) == []
    assert compiler.prices(plan, (), "EUR").find("tokens", ())[0].price.key == "euro"


def test_a_spend_feature_counts_what_it_names() -> None:
    images = replace(TOKENS, id="images")
    named = replace(SPEND, id="named", spend=Spend(USD, ("images",)))
    features = {each.id: each for each in (TOKENS, images, SPEND, named)}
    spending = PlanCompiler(Catalog("c", 1, features, {})).spending
    assert [each.id for each in spending["tokens"]] == ["spend"]
    assert [each.id for each in spending["images"]] == ["spend", "named"]
