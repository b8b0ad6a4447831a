"""Whole charges against a model in fractions: every line, and the sum."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from rating_values import (
    BHD,
    DAY_MS,
    JPY,
    USD,
    flat,
    half_up,
    model_cost,
    of_seats,
    of_usage,
)

from weighbridge.rules.rating.charge import Charge, LineKind
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    FlatPrice,
    MinimumPrice,
    Price,
    QuantityPrice,
)
from weighbridge.rules.rating.rate import rate
from weighbridge.rules.rating.tiers import Package, Rate, Tier, TierMode, TierTable, UnitRate
from weighbridge.rules.rating.usage import Usage

FEATURES = ("calls", "reports", "bytes")
PRICES = st.decimals(0, 100, places=5)
CURRENCIES = st.sampled_from([JPY, USD, BHD])
PERS = st.sampled_from([1, 7, 1000, 3600])


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    which = draw(st.integers(0, 2))
    if which == 0:
        return UnitRate(draw(PRICES), draw(PERS))
    if which == 1:
        return Package(draw(PRICES), draw(st.integers(1, 20)))
    bounds = sorted(draw(st.sets(st.integers(1, 50), max_size=4)))
    tiers = tuple(Tier(bound, draw(PRICES), draw(PRICES)) for bound in [*bounds, None])
    return TierTable(draw(st.sampled_from(TierMode)), tiers, draw(PERS))


@st.composite
def price_lists(draw: st.DrawFn) -> tuple[Currency, list[Price]]:
    currency = draw(CURRENCIES)
    prices: list[Price] = [
        flat(str(draw(PRICES)), key=f"flat{n}", currency=currency)
        for n in range(draw(st.integers(0, 2)))
    ]
    for feature in draw(st.sets(st.sampled_from(FEATURES))):
        included = draw(st.integers(0, 20))
        prices.append(
            of_usage(draw(rates()), feature, feature, included=included, currency=currency)
        )
    return currency, prices


@st.composite
def periods(draw: st.DrawFn) -> BillingPeriod:
    days = draw(st.integers(28, 31))
    first = draw(st.integers(0, days * DAY_MS))
    last = draw(st.integers(first, days * DAY_MS))
    return BillingPeriod(0, days * DAY_MS, from_ms=first, until_ms=last)


usages = st.lists(st.builds(Usage, st.sampled_from(FEATURES), st.integers(0, 60)), max_size=5)


def expected(price: Price, usage: Sequence[Usage], period: BillingPeriod) -> Fraction | None:
    """Return what a price charges; None where it makes no line."""
    if isinstance(price, FlatPrice):
        share = Fraction(period.share.part_ms, period.share.whole_ms)
        return Fraction(price.amount) * share
    assert isinstance(price, QuantityPrice)
    own = [each.quantity for each in usage if each.feature == price.feature]
    return model_cost(price.rate, max(0, sum(own) - price.included)) if own else None


@given(price_lists(), usages, periods())
def test_every_line_is_the_exact_amount_rounded_once(
    listed: tuple[Currency, list[Price]], usage: list[Usage], period: BillingPeriod
) -> None:
    currency, prices = listed
    charge = rate(prices, usage, 1, period)
    by_key = {line.origin.key: line for line in charge.lines}
    for price in prices:
        amount = expected(price, usage, period)
        if amount is None:
            assert price.key not in by_key
            continue
        line = by_key.pop(price.key)
        assert line.minor == half_up(amount, currency.exponent)
        assert abs(Fraction(line.amount) - amount) <= amount / 10**33
    assert not by_key
    assert charge.total_minor == sum(line.minor for line in charge.lines)
    if prices:
        assert Fraction(charge.total) == Fraction(charge.total_minor, 10**currency.exponent)


@given(price_lists(), usages, PRICES, PRICES)
def test_commitment_and_minimum_hold_whatever_was_used(
    listed: tuple[Currency, list[Price]],
    usage: list[Usage],
    committed: Decimal,
    least: Decimal,
) -> None:
    currency, prices = listed
    period = BillingPeriod(0, DAY_MS)
    plain = rate(prices, usage, 1, period)
    used = _sum(plain, LineKind.USAGE)
    fees = _sum(plain, LineKind.FLAT)
    commitment = CommitmentPrice(key="commitment", currency=currency, amount=committed)
    minimum = MinimumPrice(key="minimum", currency=currency, amount=least)
    committed_minor = half_up(Fraction(committed), currency.exponent)
    least_minor = half_up(Fraction(least), currency.exponent)
    assert rate([*prices, commitment], usage, 1, period).total_minor == fees + max(
        used, committed_minor
    )
    assert rate([*prices, minimum], usage, 1, period).total_minor == max(fees + used, least_minor)
    assert rate([minimum, *prices, commitment], usage, 1, period).total_minor == max(
        fees + max(used, committed_minor), least_minor
    )


@given(price_lists(), usages, st.randoms(use_true_random=False))
def test_the_order_of_prices_and_usage_changes_no_charge(
    listed: tuple[Currency, list[Price]], usage: list[Usage], chance: random.Random
) -> None:
    period = BillingPeriod(0, DAY_MS)
    _, prices = listed
    shuffled_prices, shuffled_usage = list(prices), list(usage)
    chance.shuffle(shuffled_prices)
    chance.shuffle(shuffled_usage)
    before = {line.origin.key: line for line in rate(prices, usage, 1, period).lines}
    after = rate(shuffled_prices, shuffled_usage, 1, period).lines
    assert before == {line.origin.key: line for line in after}


@given(PRICES, st.integers(0, 500), st.integers(0, 500))
def test_a_seat_more_costs_a_seat(amount: Decimal, seats: int, included: int) -> None:
    price = of_seats(UnitRate(amount), included=included)
    charge = rate([price], (), seats, BillingPeriod(0, DAY_MS))
    assert charge.total_minor == half_up(Fraction(amount) * max(0, seats - included), 2)


def _sum(charge: Charge, kind: LineKind) -> int:
    return sum(line.minor for line in charge.lines if line.origin.kind is kind)
