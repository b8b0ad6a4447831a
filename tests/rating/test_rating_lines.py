"""Line items: fees, seats, allowances, dimensions, percentages, commitments, minimums."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from rating_values import (
    DAY_MS,
    EUR,
    JPY,
    MONTH,
    USD,
    amounts,
    calls,
    flat,
    lines_of,
    minimum,
    of_seats,
    of_usage,
    package,
    per_unit,
    percentage,
    sales,
    table,
)

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.charge import LineKind
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import CommitmentPrice, FeePercentagePrice, Price
from weighbridge.rules.rating.rate import rate, rate_terms
from weighbridge.rules.rating.terms import AddOnTerms, Terms
from weighbridge.rules.rating.tiers import TierMode
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.window import Period

CENT = of_usage(per_unit("0.01"))


def commitment(amount: str, feature: str = "", key: str = "commitment") -> CommitmentPrice:
    return CommitmentPrice(key=key, currency=USD, amount=Decimal(amount), feature=feature)


def half_of_fees() -> FeePercentagePrice:
    return FeePercentagePrice(key="half", currency=USD, percent=Decimal(50))


def test_fees_seats_and_usage_are_a_line_each() -> None:
    prices = (flat("10"), of_seats(per_unit("19"), included=2), CENT)
    charge = rate(prices, [calls(150)], 5, MONTH)
    assert amounts(charge) == {"flat": 1_000, "per_seat": 5_700, "calls": 150}
    assert [line.quantity for line in charge.lines] == [1, 5, 150]
    assert charge.total == Decimal("68.50")
    assert charge.currency == USD


def test_seats_that_are_included_or_missing_cost_nothing() -> None:
    prices = (of_seats(per_unit("19"), included=3),)
    assert [rate(prices, (), seats, MONTH).total_minor for seats in (0, 3, 4)] == [0, 0, 1_900]


def test_seats_by_tier() -> None:
    graduated = table(TierMode.GRADUATED, (10, "10", "0"), (None, "8", "0"))
    volume = table(TierMode.VOLUME, (10, "10", "0"), (None, "8", "0"))
    assert rate((of_seats(graduated),), (), 12, MONTH).total == 116
    assert rate((of_seats(volume),), (), 12, MONTH).total == 96
    assert rate((of_seats(package("50", 5)),), (), 12, MONTH).total == 150


def test_an_allowance_is_taken_off_before_tiers_and_packages() -> None:
    tiers = table(TierMode.GRADUATED, (10, "1", "0"), (None, "0.50", "0"))
    for price, used, charged in [
        (of_usage(tiers, included=5), 5, 0),
        (of_usage(tiers, included=5), 17, 1_100),
        (of_usage(package("3", 10), included=5), 6, 300),
        (of_usage(per_unit("1"), included=5, included_per_seat=10), 46, 100),
    ]:
        assert rate((price,), [calls(used)], 4, MONTH).total_minor == charged


def test_usage_of_one_price_is_summed_before_it_is_rated() -> None:
    price = of_usage(package("3", 10))
    charge = rate((price,), [calls(1), calls(2), calls(8)], 1, MONTH)
    assert amounts(charge) == {"calls": 600}


def test_what_was_carried_fills_allowance_and_tiers_and_costs_nothing() -> None:
    tiers = table(TierMode.GRADUATED, (10, "1", "0"), (None, "0.50", "0"))
    price = of_usage(tiers, included=5)
    charges = [rate((price,), [calls(4, carried)], 1, MONTH).total for carried in (0, 3, 12, 100)]
    assert charges == [0, 2, Decimal("3.5"), 2]


def test_the_price_with_the_most_matching_dimensions_is_meant() -> None:
    prices = (
        of_usage(per_unit("1"), key="any"),
        of_usage(per_unit("2"), key="eu", match=(("region", "eu"),)),
        of_usage(per_unit("3"), key="large-eu", match=(("region", "eu"), ("size", "l"))),
    )
    usage = [
        calls(1),
        calls(10, region="us"),
        calls(100, region="eu"),
        calls(1_000, region="eu", size="l", tier="x"),
        calls(10_000, size="l"),
    ]
    charge = rate(prices, usage, 1, MONTH)
    assert {line.origin.key: line.quantity for line in charge.lines} == {
        "any": 10_011,
        "eu": 100,
        "large-eu": 1_000,
    }
    assert charge.unmatched == ()


def test_usage_that_no_price_fits_is_told_and_usage_without_prices_is_not() -> None:
    price = of_usage(per_unit("1"), match=(("model", "large"),))
    small, other = calls(5, model="small"), Usage("reports", 7)
    charge = rate((price,), [small, other, calls(2, model="large")], 1, MONTH)
    assert charge.unmatched == (small,)
    assert charge.total == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((), ()),
        ((("a", "1"),), (("a", "1"),)),
        ((("a", "1"),), (("b", "1"),)),
        ((("a", "1"), ("b", "1")), (("b", "1"), ("c", "1"))),
    ],
)
def test_prices_that_fit_the_same_usage_equally_are_refused(
    one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...]
) -> None:
    prices = (
        of_usage(per_unit("1"), key="one", match=one),
        of_usage(per_unit("2"), key="other", match=other),
    )
    with pytest.raises(InvalidArgumentError, match="'one' and 'other' fit the same usage"):
        rate(prices, (), 1, MONTH)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((("a", "1"),), (("a", "2"),)),
        ((("a", "1"),), (("a", "1"), ("b", "1"))),
        ((("a", "1"), ("b", "1")), (("b", "2"), ("c", "1"))),
    ],
)
def test_prices_that_exclude_or_refine_each_other_go_together(
    one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...]
) -> None:
    prices = (
        of_usage(per_unit("1"), key="one", match=one),
        of_usage(per_unit("2"), key="other", match=other),
    )
    assert rate(prices, (), 1, MONTH).lines == ()


def test_currencies_are_never_mixed() -> None:
    euros = replace(flat("10"), currency=EUR)
    with pytest.raises(InvalidArgumentError, match="mix the currencies USD, EUR"):
        rate((flat("10"), euros), (), 1, MONTH)
    with pytest.raises(InvalidArgumentError, match="mix the currencies"):
        rate_terms(Terms((flat("10"),), 1, (AddOnTerms("more", (euros,)),)), (), MONTH)


def test_a_currency_decides_what_is_rounded_to() -> None:
    prices = tuple(replace(CENT, currency=each, rate=per_unit("0.5")) for each in (JPY, USD))
    assert [rate((price,), [calls(3)], 1, MONTH).total_minor for price in prices] == [2, 150]


def test_no_price_is_no_charge() -> None:
    charge = rate((), [calls(5)], 3, MONTH)
    assert (charge.lines, charge.currency, charge.total) == ((), None, Decimal(0))
    assert charge.unmatched == ()


def test_only_prices_of_the_period_are_charged() -> None:
    prices = (
        flat("10"),
        flat("100", key="year", every=Period.YEAR),
        replace(CENT, key="yearly", every=Period.YEAR, rate=per_unit("0.02")),
        CENT,
    )
    year = BillingPeriod(0, 365 * DAY_MS, Period.YEAR)
    assert amounts(rate(prices, [calls(5)], 1, MONTH)) == {"flat": 1_000, "calls": 5}
    assert amounts(rate(prices, [calls(5)], 1, year)) == {"year": 10_000, "yearly": 10}


def test_fees_are_charged_for_the_part_that_was_served_and_usage_is_not() -> None:
    third = replace(MONTH, from_ms=MONTH.start_ms, until_ms=MONTH.start_ms + 10 * DAY_MS)
    prices = (flat("10"), of_seats(per_unit("1")), CENT, half_of_fees(), minimum("90"))
    charge = rate(prices, [calls(150)], 2, third)
    assert amounts(charge) == {
        "flat": 333,
        "per_seat": 67,
        "half": 200,
        "calls": 150,
        "minimum": 3_000 - 333 - 67 - 200 - 150,
    }


def test_percentages_of_fees_take_the_plan_and_not_the_add_ons() -> None:
    add_ons = (AddOnTerms("half", (half_of_fees(),)), AddOnTerms("other", (flat("100"),), 2))
    prices = (flat("35.01"), of_seats(per_unit("5")), CENT)
    charge = rate_terms(Terms(prices, 2, add_ons), [calls(100)], MONTH)
    (line,) = lines_of(charge, LineKind.FEE_PERCENTAGE)
    # Half of 45.01 is 22.505, a tie: away from zero.
    assert (line.quantity, line.amount, line.minor) == (4_501, Decimal("22.505"), 2_251)


def test_a_percentage_adds_its_flat_part_for_each_transaction() -> None:
    price = percentage("2.9", flat=Decimal("0.30"))
    assert rate((price,), [sales(10_000)], 1, MONTH).total_minor == 320
    assert rate((price,), [sales(10_000, 3)], 1, MONTH).total_minor == 380
    assert rate((price,), [sales(0, 0)], 1, MONTH).total_minor == 0


def test_a_cap_holds_for_each_transaction() -> None:
    price = percentage("0.8", cap=Decimal("5.00"))
    used = [sales(50_000), sales(62_500), sales(1_000_000)]
    assert [rate((price,), [each], 1, MONTH).total for each in used] == [4, 5, 5]
    assert rate((price,), used, 1, MONTH).total == 14
    with pytest.raises(InvalidArgumentError, match="a cap needs each transaction by itself"):
        rate((price,), [sales(100_000, 2)], 1, MONTH)


@pytest.mark.parametrize(("used", "total"), [(0, 100), (5_000, 100), (10_000, 100), (10_500, 105)])
def test_a_commitment_pays_for_usage_up_to_its_amount(used: int, total: int) -> None:
    charge = rate((commitment("100"), CENT), [calls(used)], 1, MONTH)
    assert charge.total == total
    drawn = lines_of(charge, LineKind.COMMITMENT_DRAWN)
    assert [line.minor for line in drawn] == ([-min(used, 10_000)] if used else [])


def test_commitments_cover_no_usage_twice_and_no_fees() -> None:
    prices: tuple[Price, ...] = (
        flat("10"),
        commitment("50", key="any"),
        commitment("30", "calls", key="of calls"),
        CENT,
        of_usage(per_unit("0.01"), "reports", "reports"),
    )
    charge = rate(prices, [calls(4_000), Usage("reports", 2_500)], 1, MONTH)
    drawn = {line.origin.key: line.minor for line in lines_of(charge, LineKind.COMMITMENT_DRAWN)}
    assert drawn == {"of calls": -3_000, "any": -3_500}
    assert charge.total == 10 + 50 + 30


def test_minimums_are_met_to_the_cent_those_of_features_first() -> None:
    prices = (flat("10"), minimum("5", "calls-min", feature="calls"), minimum("20"), CENT)
    assert amounts(rate(prices, [calls(100)], 1, MONTH)) == {
        "flat": 1_000,
        "calls": 100,
        "calls-min": 400,
        "minimum": 500,
    }
    assert amounts(rate(prices, [calls(1_000)], 1, MONTH)) == {"flat": 1_000, "calls": 1_000}


def test_an_add_on_counts_once_for_each_piece_bought() -> None:
    prices = (
        flat("7"),
        of_seats(per_unit("2")),
        of_usage(per_unit("0.05"), "reports", "reports", included=10),
        commitment("1"),
    )
    charge = rate_terms(
        Terms((), 4, (AddOnTerms("more", prices, 3),)), [Usage("reports", 32)], MONTH
    )
    assert amounts(charge) == {
        "flat": 2_100,
        "per_seat": 2_400,
        "commitment:commitment": 300,
        "reports": 10,
        "commitment:commitment_drawn": -10,
    }
    assert {line.origin.add_on for line in charge.lines} == {"more"}


def test_the_price_of_an_add_on_replaces_that_of_the_plan_for_the_same_usage() -> None:
    cheaper = of_usage(per_unit("0.005"), key="cheaper")
    cheapest = of_usage(per_unit("0.001"), key="cheapest")
    of_plan = (CENT, of_usage(per_unit("0.03"), key="eu", match=(("region", "eu"),)))
    add_ons = (AddOnTerms("first", (cheaper,)), AddOnTerms("second", (cheapest,)))
    charge = rate_terms(Terms(of_plan, 1, add_ons), [calls(1_000), calls(10, region="eu")], MONTH)
    assert amounts(charge) == {"eu": 30, "cheaper": 500}


def test_a_limit_that_has_no_number_yet_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="past_limit: 'month' has no number yet"):
        rate((of_usage(per_unit("1"), past_limit="month"),), [calls(1)], 1, MONTH)


def test_a_division_that_does_not_end_is_shown_and_rounded_from_the_quotient() -> None:
    price = of_usage(per_unit("0.50", 3_600))
    (line,) = rate((price,), [calls(1_234)], 1, MONTH).lines
    assert line.amount == Decimal("0.1713888888888888888888888888888889")
    assert line.minor == 17
    assert (line.detail.per, line.detail.segments[0].unit) == (3_600, Decimal("0.50"))


@pytest.mark.parametrize("seats", [-1, 1.5, True, 1_000_001])
def test_seats_are_a_count(seats: int) -> None:
    with pytest.raises(InvalidArgumentError, match="seats"):
        rate((), (), seats, MONTH)


def test_values_that_say_nothing_sensible_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no dimensions, limits or seats"):
        of_seats(per_unit("1"), match=(("a", "1"),))
    with pytest.raises(InvalidArgumentError, match="feature: is missing"):
        of_usage(per_unit("1"), feature="")
    with pytest.raises(InvalidArgumentError, match="match: "):
        of_usage(per_unit("1"), match=(("b", "1"), ("a", "1")))
    with pytest.raises(InvalidArgumentError, match="pieces"):
        AddOnTerms("more", (), 0)
    with pytest.raises(InvalidArgumentError, match="names one of them twice"):
        rate((CENT,), [Usage("calls", 1, (("a", "1"), ("a", "2")))], 1, MONTH)
    with pytest.raises(InvalidArgumentError, match="is no span of time"):
        BillingPeriod(5, 5)
    with pytest.raises(InvalidArgumentError, match="is no part of"):
        BillingPeriod(0, 10, from_ms=5, until_ms=11)
