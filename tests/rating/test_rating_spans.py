"""Periods within which terms change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_values import DAY_MS, MONTH, calls, flat, of_usage, per_unit, percentage, sales, table

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.prices import Proration
from weighbridge.rules.rating.rate import rate_terms
from weighbridge.rules.rating.spans import Span, rate_spans
from weighbridge.rules.rating.terms import Terms
from weighbridge.rules.rating.tiers import TierMode

TIERS = table(TierMode.GRADUATED, (10, "0", "0"), (100, "1.00", "5"), (None, "0.50", "0"))
OLD = Terms((flat("30.00"), of_usage(TIERS)))
NEW = Terms((flat("60.00"), of_usage(per_unit("2.00"))))

DAYS = st.lists(st.integers(1, 29), max_size=4, unique=True).map(sorted)


def cut(days: list[int], terms: Terms, units: list[int]) -> list[Span]:
    bounds = [MONTH.start_ms, *(MONTH.start_ms + day * DAY_MS for day in days), MONTH.end_ms]
    return [
        Span(terms, start, end, (calls(used),))
        for start, end, used in zip(bounds, bounds[1:], units, strict=False)
    ]


@given(DAYS, st.lists(st.integers(0, 80), min_size=5, max_size=5))
def test_spans_of_the_same_terms_cost_what_the_whole_period_does(
    days: list[int], units: list[int]
) -> None:
    spans = cut(days, OLD, units)
    used = sum(units[: len(spans)])
    whole = rate_terms(OLD, [calls(used)], MONTH)
    parts = rate_spans(spans, MONTH)
    assert sum(each.total_minor for each in parts) == whole.total_minor


@given(st.integers(1, 29), st.sampled_from(Proration))
def test_there_and_back_at_once_costs_nothing(day: int, proration: Proration) -> None:
    at_ms = MONTH.start_ms + day * DAY_MS
    stayed = [Span(OLD, MONTH.start_ms, MONTH.end_ms)]
    moved = [
        Span(OLD, MONTH.start_ms, at_ms),
        Span(NEW, at_ms, at_ms + 1, proration=proration),
        Span(OLD, at_ms + 1, MONTH.end_ms, proration=proration),
    ]
    cost = sum(each.total_minor for each in rate_spans(stayed, MONTH))
    there_and_back = sum(each.total_minor for each in rate_spans(moved, MONTH))
    # The millisecond in between costs less than a cent.
    assert abs(there_and_back - cost) <= 1


def test_a_change_charges_the_rest_of_the_new_and_gives_back_the_rest_of_the_old() -> None:
    at_ms = MONTH.start_ms + 10 * DAY_MS
    first, second = rate_spans(
        [
            Span(OLD, MONTH.start_ms, at_ms, (calls(20),)),
            Span(NEW, at_ms, MONTH.end_ms, (calls(3),)),
        ],
        MONTH,
    )
    assert first.total_minor == 3_000 + 500 + 1_000
    assert second.total_minor == -2_000 + 4_000 + 600


@pytest.mark.parametrize(("proration", "kept"), [(Proration.TIME, 1_000), (Proration.NONE, 3_000)])
def test_an_end_gives_back_by_time_or_not_at_all(proration: Proration, kept: int) -> None:
    at_ms = MONTH.start_ms + 10 * DAY_MS
    span = Span(OLD, MONTH.start_ms, at_ms, proration=proration, ends=True)
    (charges,) = rate_spans([span], MONTH)
    assert charges.total_minor == kept


def test_transactions_of_a_percentage_are_counted_in_each_span() -> None:
    terms = Terms((percentage("10"),))
    at_ms = MONTH.start_ms + DAY_MS
    spans = [
        Span(terms, MONTH.start_ms, at_ms, (sales(1_000),)),
        Span(terms, at_ms, MONTH.end_ms, (sales(500),)),
    ]
    assert [each.total_minor for each in rate_spans(spans, MONTH)] == [100, 50]


def test_spans_have_to_follow_each_other_within_the_period() -> None:
    gap = [
        Span(OLD, MONTH.start_ms, MONTH.start_ms + 5),
        Span(OLD, MONTH.start_ms + 6, MONTH.end_ms),
    ]
    outside = [Span(OLD, MONTH.start_ms - 1, MONTH.end_ms)]
    late = replace(MONTH, from_ms=MONTH.start_ms + 1)
    for spans, period in ((gap, MONTH), (outside, MONTH), ([Span(OLD, 0, 0)], MONTH)):
        with pytest.raises(InvalidArgumentError, match="spans"):
            rate_spans(spans, period)
    with pytest.raises(InvalidArgumentError, match="spans"):
        rate_spans([Span(OLD, MONTH.start_ms, MONTH.end_ms)], late)
    assert rate_spans([], MONTH) == []
