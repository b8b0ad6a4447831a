"""A change of terms within a period: by time, by difference, or not at all."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_values import (
    DAY_MS,
    EUR,
    MONTH,
    USD,
    calls,
    flat,
    half_up,
    minimum,
    of_seats,
    of_usage,
    per_unit,
    table,
)

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.period import WHOLE, BillingPeriod
from weighbridge.rules.rating.prices import CommitmentPrice, FeePercentagePrice, Proration
from weighbridge.rules.rating.proration import ChangeOfTerms, change_terms
from weighbridge.rules.rating.rate import rate, rate_terms
from weighbridge.rules.rating.terms import AddOnTerms, Terms
from weighbridge.rules.rating.tiers import TierMode

TIME, DIFFERENCE, NONE = Proration.TIME, Proration.DIFFERENCE, Proration.NONE
SMALL, LARGE = Terms((flat("10"),)), Terms((flat("40"),))
FEES = st.decimals(0, 1000, places=2)
INSTANTS = st.integers(MONTH.start_ms, MONTH.end_ms - 1)


def minors(change: ChangeOfTerms) -> tuple[list[int], list[int]]:
    credit, charge = change.credit.lines, change.charge.lines
    return [line.minor for line in credit], [line.minor for line in charge]


@pytest.mark.parametrize(
    ("day", "credit", "charge"), [(0, -1_000, 4_000), (10, -667, 2_667), (15, -500, 2_000)]
)
def test_by_time_the_rest_is_credited_and_charged(day: int, credit: int, charge: int) -> None:
    change = change_terms(SMALL, LARGE, MONTH, MONTH.start_ms + day * DAY_MS, TIME)
    assert minors(change) == ([credit], [charge])
    assert change.total_minor == credit + charge


def test_a_month_is_as_long_as_it_is() -> None:
    february = BillingPeriod(0, 28 * DAY_MS)
    change = change_terms(SMALL, LARGE, february, 7 * DAY_MS, TIME)
    assert minors(change) == ([-750], [3_000])


def test_the_last_millisecond_costs_next_to_nothing() -> None:
    assert change_terms(SMALL, LARGE, MONTH, MONTH.end_ms - 1, TIME).total_minor == 0


def test_by_difference_the_instant_says_nothing() -> None:
    for at_ms in (MONTH.start_ms, MONTH.start_ms + 12_345, MONTH.end_ms - 1):
        change = change_terms(SMALL, LARGE, MONTH, at_ms, DIFFERENCE)
        assert minors(change) == ([-1_000], [4_000])


def test_none_waits_for_the_next_period() -> None:
    change = change_terms(SMALL, LARGE, MONTH, MONTH.start_ms, NONE)
    assert (minors(change), change.total_minor) == (([], []), 0)


def test_a_downgrade_gives_money_back() -> None:
    change = change_terms(LARGE, SMALL, MONTH, MONTH.start_ms + 15 * DAY_MS, TIME)
    assert change.total_minor == -1_500


def test_seats_and_add_ons_are_changes_too() -> None:
    seat = of_seats(per_unit("3"))
    more = AddOnTerms("more", (flat("6"),), 2)
    change = change_terms(
        Terms((seat,), 5), Terms((seat,), 8, (more,)), MONTH, MONTH.start_ms + 20 * DAY_MS, TIME
    )
    assert minors(change) == ([-500], [800, 400])
    assert [line.origin.add_on for line in change.charge.lines] == ["", "more"]


def test_commitments_and_percentages_of_fees_are_fees_and_minimums_are_not() -> None:
    terms = Terms(
        (
            flat("10"),
            CommitmentPrice(key="commitment", currency=USD, amount=Decimal(30)),
            FeePercentagePrice(key="half", currency=USD, percent=Decimal(50)),
            minimum("500"),
            of_usage(per_unit("1")),
        )
    )
    change = change_terms(terms, Terms(()), MONTH, MONTH.start_ms + 15 * DAY_MS, TIME)
    assert sorted(minors(change)[0]) == [-1_500, -500, -250]
    assert change.charge.currency is None


def test_only_the_part_that_was_charged_for_is_credited() -> None:
    started_late = replace(MONTH, from_ms=MONTH.start_ms + 10 * DAY_MS)
    at_ms = MONTH.start_ms + 20 * DAY_MS
    assert minors(change_terms(SMALL, LARGE, started_late, at_ms, TIME))[0] == [-333]
    assert minors(change_terms(SMALL, LARGE, started_late, at_ms, DIFFERENCE))[0] == [-667]
    with pytest.raises(InvalidArgumentError, match="at_ms"):
        change_terms(SMALL, LARGE, started_late, MONTH.start_ms, TIME)


@pytest.mark.parametrize("at_ms", [MONTH.start_ms - 1, MONTH.end_ms])
def test_the_instant_is_within_the_period(at_ms: int) -> None:
    with pytest.raises(InvalidArgumentError, match="is not within"):
        change_terms(SMALL, LARGE, MONTH, at_ms, DIFFERENCE)


def test_a_change_keeps_the_currency() -> None:
    euros = Terms((replace(flat("10"), currency=EUR),))
    with pytest.raises(InvalidArgumentError, match="are in USD and EUR"):
        change_terms(SMALL, euros, MONTH, MONTH.start_ms, TIME)
    assert change_terms(Terms(()), euros, MONTH, MONTH.start_ms, TIME).total_minor == 1_000


def test_usage_is_charged_where_it_was_used_and_fills_the_tiers_of_the_new_plan() -> None:
    old = of_usage(per_unit("0.10"), included=100)
    tiers = table(TierMode.GRADUATED, (300, "0.08", "0"), (None, "0.05", "0"))
    new = of_usage(tiers, included=200)
    before = rate((old,), [calls(150)], 1, MONTH)
    after = rate((new,), [calls(400, carried=150)], 1, MONTH)
    # 50 past the old allowance; of 550 in all, 350 past the new one: 300 at 0.08, 50 at 0.05.
    assert (before.total, after.total) == (Decimal("5.00"), Decimal("26.50"))


@given(FEES, INSTANTS)
def test_changing_nothing_costs_nothing(fee: Decimal, at_ms: int) -> None:
    terms = Terms((flat(str(fee)),))
    for proration in Proration:
        assert change_terms(terms, terms, MONTH, at_ms, proration).total_minor == 0


@given(FEES, FEES, INSTANTS)
def test_there_and_back_costs_nothing(one: Decimal, other: Decimal, at_ms: int) -> None:
    first, second = Terms((flat(str(one)),)), Terms((flat(str(other)),))
    for proration in Proration:
        there = change_terms(first, second, MONTH, at_ms, proration)
        back = change_terms(second, first, MONTH, at_ms, proration)
        assert there.total_minor + back.total_minor == 0


@given(FEES, INSTANTS)
def test_a_credit_is_the_exact_share_rounded_once(fee: Decimal, at_ms: int) -> None:
    terms = Terms((flat(str(fee)),))
    (line,) = change_terms(terms, Terms(()), MONTH, at_ms, TIME).credit.lines
    share = Fraction(MONTH.end_ms - at_ms, MONTH.end_ms - MONTH.start_ms)
    assert line.minor == -half_up(Fraction(fee) * share, 2)
    assert 0 <= -line.minor <= half_up(Fraction(fee), 2)


@given(FEES, st.integers(MONTH.start_ms + 1, MONTH.end_ms - 1))
def test_two_parts_cost_the_whole_to_one_cent(fee: Decimal, at_ms: int) -> None:
    parts = (replace(MONTH, until_ms=at_ms), replace(MONTH, from_ms=at_ms))
    terms = Terms((flat(str(fee)),))
    charged = sum(rate_terms(terms, (), part).total_minor for part in parts)
    assert abs(charged - rate_terms(terms, (), MONTH).total_minor) <= 1


def test_a_whole_period_is_whole() -> None:
    assert MONTH.share is WHOLE
    assert replace(MONTH, from_ms=MONTH.start_ms, until_ms=MONTH.end_ms).share is WHOLE
