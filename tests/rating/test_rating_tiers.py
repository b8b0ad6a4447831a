"""Properties of unit prices, tables and packages, against a model in fractions."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_values import cost, model_cost, package, per_unit, table

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.tiers import (
    Package,
    Rate,
    Tier,
    TierMode,
    TierTable,
    UnitRate,
    tier_problems,
)
from weighbridge.rules.units import COUNTER_MAX

GRADUATED, VOLUME = TierMode.GRADUATED, TierMode.VOLUME
PRICES = st.decimals(0, 1000, places=6)
UNITS = st.integers(0, 120)
PERS = st.sampled_from([1, 3, 7, 10, 1000, 3600, 1_000_000])


@st.composite
def tables(
    draw: st.DrawFn, mode: TierMode | None = None, flats: st.SearchStrategy[Decimal] = PRICES
) -> TierTable:
    bounds = sorted(draw(st.sets(st.integers(1, 100), max_size=6)))
    tiers = tuple(Tier(bound, draw(PRICES), draw(flats)) for bound in [*bounds, None])
    return TierTable(mode or draw(st.sampled_from(TierMode)), tiers, draw(PERS))


UNIT_RATES = st.builds(UnitRate, PRICES, PERS)
PACKAGES = st.builds(Package, PRICES, st.integers(1, 50))
RATES: st.SearchStrategy[Rate] = st.one_of(UNIT_RATES, PACKAGES, tables())
ADDITIVE: st.SearchStrategy[Rate] = st.one_of(UNIT_RATES, PACKAGES, tables(GRADUATED))
NO_FLAT = st.just(Decimal(0))


@given(RATES, UNITS)
def test_it_costs_what_the_model_says_unit_by_unit(rate: Rate, units: int) -> None:
    assert cost(rate, 0, units) == model_cost(rate, units)


@given(ADDITIVE, UNITS, UNITS)
def test_parts_cost_what_the_whole_costs(rate: Rate, before: int, units: int) -> None:
    assert cost(rate, 0, before) + cost(rate, before, units) == cost(rate, 0, before + units)


@given(ADDITIVE, UNITS)
def test_more_never_costs_less(rate: Rate, units: int) -> None:
    assert cost(rate, 0, units) <= cost(rate, 0, units + 1)


@given(tables(GRADUATED, NO_FLAT))
def test_graduated_is_continuous_at_bounds(rate: TierTable) -> None:
    for tier, above in zip(rate.tiers, rate.tiers[1:], strict=False):
        assert tier.up_to is not None
        step = cost(rate, 0, tier.up_to) - cost(rate, 0, tier.up_to - 1)
        next_step = cost(rate, 0, tier.up_to + 1) - cost(rate, 0, tier.up_to)
        assert step == Fraction(tier.unit) / rate.per
        assert next_step == Fraction(above.unit) / rate.per


@given(tables(VOLUME), st.integers(1, 120))
def test_volume_is_the_tier_of_the_last_unit(rate: TierTable, units: int) -> None:
    tier = next(each for each in rate.tiers if each.up_to is None or units <= each.up_to)
    assert cost(rate, 0, units) == Fraction(tier.unit) * units / rate.per + Fraction(tier.flat)


@given(PACKAGES, st.integers(0, 10**18))
def test_packages_are_counted_as_started(rate: Package, units: int) -> None:
    (segment,) = rate.segments(0, units)
    assert (segment.units - 1) * rate.size < units <= segment.units * rate.size


@given(RATES)
def test_nothing_costs_nothing(rate: Rate) -> None:
    assert cost(rate, 0, 0) == 0


@given(tables(GRADUATED), st.integers(0, COUNTER_MAX), st.integers(0, 10**15))
def test_segments_cover_the_units_once(rate: TierTable, before: int, units: int) -> None:
    before = min(before, COUNTER_MAX - units)
    assert sum(segment.units for segment in rate.segments(before, units)) == units


def test_the_largest_amounts_stay_exact() -> None:
    price = Decimal("999999999999999.999999999999999999")
    rate = TierTable(GRADUATED, (Tier(1, price), Tier(None, price, price)), 10**12)
    expected = Fraction(price) * COUNTER_MAX / 10**12 + Fraction(price)
    assert cost(rate, 0, COUNTER_MAX) == expected


def test_flat_parts_of_graduated_tiers_are_due_when_a_tier_is_entered() -> None:
    rate = table(GRADUATED, (10, "1", "5"), (20, "0", "7"), (None, "0.50", "0"))
    assert [cost(rate, 0, units) for units in (0, 1, 10, 11, 20, 22)] == [0, 6, 15, 22, 22, 23]
    assert cost(rate, 10, 1) == 7
    assert cost(rate, 11, 1) == 0


def test_a_flat_part_of_a_volume_tier_is_due_once() -> None:
    rate = table(VOLUME, (10, "1", "5"), (None, "0.50", "7"))
    assert [cost(rate, 0, units) for units in (0, 1, 10, 11)] == [0, 6, 15, Fraction("12.5")]
    assert cost(rate, 4, 2) == 2
    assert cost(rate, 10, 1) == Fraction("7.5")


def test_packages_and_parts_of_a_unit_price() -> None:
    assert [cost(package("5", 100), 0, n) for n in (0, 1, 100, 101)] == [0, 5, 5, 10]
    assert cost(package("5", 100), 50, 50) == 0
    assert cost(per_unit("1", 3), 0, 1) == Fraction(1, 3)


@pytest.mark.parametrize(
    ("bounds", "position", "problem"),
    [
        ([], 0, "at least one tier"),
        ([10], 0, "closes the last tier"),
        ([None, 10], 0, "only the last tier is open"),
        ([None, None], 0, "only the last tier is open"),
        ([10, 10, None], 1, "10 is not above 10"),
        ([10, 5, None], 1, "5 is not above 10"),
        ([10, 5, 8, None], 1, "5 is not above 10"),
        ([0, None], 0, "0 is not above 0"),
        ([*range(1, 101), None], 100, "one tier too many"),
    ],
)
def test_a_table_covers_every_unit_once(
    bounds: list[int | None], position: int, problem: str
) -> None:
    at, text = next(iter(tier_problems(bounds)))
    assert at == position
    assert problem in text
    with pytest.raises(InvalidArgumentError, match=r"(graduated\[|up_to)"):
        TierTable(GRADUATED, tuple(Tier(bound) for bound in bounds))


@given(st.lists(st.integers(1, 30) | st.none(), max_size=6))
def test_bounds_without_problems_are_ascending_and_end_open(bounds: list[int | None]) -> None:
    is_sound = not list(tier_problems(bounds))
    closed = [bound for bound in bounds if bound is not None]
    ascending = all(one < other for one, other in itertools.pairwise(closed))
    assert is_sound == (bounds[-1:] == [None] and bounds.count(None) == 1 and ascending)


@pytest.mark.parametrize(("before", "units"), [(-1, 1), (0, -1), (0, True), (1.0, 1)])
def test_units_are_counts(before: int, units: int) -> None:
    for rate in (per_unit("1"), package("1", 2), table(VOLUME, (None, "1", "0"))):
        with pytest.raises(InvalidArgumentError):
            rate.segments(before, units)
