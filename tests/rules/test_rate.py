"""A rate admits its burst and what came back, and never more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_values import DAY, add_on, calls, granting, limit, override

from weighbridge.rules.catalog import Entitlement, Limit, LimitKind
from weighbridge.rules.decision import ALLOWED, LimitState, Reason, apply_rates, decide_metered
from weighbridge.rules.decision import observed as observe
from weighbridge.rules.entitlement import with_add_ons, with_overrides
from weighbridge.rules.rate import (
    Rate,
    RatePeriod,
    RateState,
    full,
    refilled,
    refusing_rate,
    rescaled,
    retry_after_ms,
    would_admit,
)
from weighbridge.rules.window import window_bounds

SECOND = Rate("per_second", 10, RatePeriod.SECOND, 20)
rates = st.builds(
    Rate, st.just("rate"), st.integers(1, 50), st.sampled_from(RatePeriod), st.integers(1, 50)
)
steps = st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 60)), max_size=40)


@given(rates, steps)
def test_any_span_admits_at_most_the_burst_and_what_came_back(
    rate: Rate, calls_made: list[tuple[int, int]]
) -> None:
    now_ms, level = 0, rate.level_max
    admitted: list[tuple[int, int]] = []
    for waited_ms, amount in calls_made:
        now_ms += waited_ms
        level = refilled(rate, level, waited_ms)
        if refusing_rate([RateState(rate, level)], amount) is None:
            level -= amount * rate.period_ms
            admitted.append((now_ms, amount))
        assert 0 <= level <= rate.level_max
    for first, (start_ms, _) in enumerate(admitted):
        total = 0
        for at_ms, amount in admitted[first:]:
            total += amount
            back = rate.limit * (at_ms - start_ms)
            assert total * rate.period_ms <= rate.burst * rate.period_ms + back


@given(rates, st.data())
def test_a_refused_call_passes_when_it_was_told_to_and_not_before(
    rate: Rate, data: st.DataObject
) -> None:
    level = data.draw(st.integers(0, rate.level_max))
    amount = data.draw(st.integers(1, 60))
    state = RateState(rate, level)
    wait_ms = retry_after_ms(state, amount)
    if wait_ms is None:
        assert amount > rate.burst
    elif refusing_rate([state], amount) is not None:
        assert refusing_rate([RateState(rate, refilled(rate, level, wait_ms))], amount) is None
        early = RateState(rate, refilled(rate, level, wait_ms - 1))
        assert refusing_rate([early], amount) is early


@given(rates, rates, st.data())
def test_a_change_gives_nothing_back_and_keeps_what_was_taken(
    before: Rate, after: Rate, data: st.DataObject
) -> None:
    level = data.draw(st.integers(0, before.level_max))
    changed = rescaled(before, after, level)
    assert 0 <= changed <= after.level_max
    # What is missing, in units, is no less than before, or everything.
    missing = (after.level_max - changed) * before.period_ms
    assert changed == 0 or missing >= (before.level_max - level) * after.period_ms
    assert rescaled(before, after, before.level_max) == after.level_max


def test_of_several_rates_the_one_that_refuses_longest_is_told() -> None:
    slow = Rate("per_hour", 1, RatePeriod.HOUR, 2)
    empty = [RateState(SECOND, 0), RateState(slow, 0)]
    verdict = apply_rates(ALLOWED, empty, 1)
    assert (verdict.reason, verdict.rate, verdict.retry_after_ms) == (
        Reason.RATE_LIMITED,
        empty[1],
        3_600_000,
    )
    assert apply_rates(ALLOWED, [empty[1], empty[0]], 1).rate == empty[1]
    assert verdict.allowed_amount is None
    assert apply_rates(ALLOWED, empty, 0) is ALLOWED


def test_what_no_bucket_holds_is_refused_for_good_and_says_how_much_would_pass() -> None:
    verdict = apply_rates(ALLOWED, [full(SECOND), full(replace(SECOND, burst=15))], 21)
    assert verdict.reason is Reason.RATE_LIMITED
    assert (verdict.retry_after_ms, verdict.allowed_amount) == (None, 15)
    assert retry_after_ms(RateState(replace(SECOND, limit=0), 0), 1) is None


def test_a_limit_that_refuses_too_is_told() -> None:
    state = LimitState(Limit("day", LimitKind.HARD, 10, DAY), window_bounds(DAY, 0, 0), 5)
    verdict = apply_rates(decide_metered([state], 6, 0), [RateState(SECOND, 3_000)], 6)
    assert verdict.reason is Reason.LIMIT_REACHED
    assert (verdict.allowed_amount, verdict.rate) == (3, None)


def test_observing_allows_and_counts_what_lies_past_a_limit() -> None:
    bounds = window_bounds(DAY, 0, 0)
    states = [
        LimitState(Limit("day", LimitKind.HARD, 10, DAY), bounds, 8),
        LimitState(Limit("soft", LimitKind.SOFT, 9, DAY), bounds, 8),
        LimitState(Limit("all", LimitKind.HARD, None, DAY), bounds, 8),
    ]
    verdict = observe(decide_metered(states, 6, 0), states, 6)
    assert verdict.allowed
    assert (verdict.reason, verdict.observed) == (None, Reason.LIMIT_REACHED)
    assert verdict.overage == 5
    assert verdict.retry_after_ms is None
    assert verdict.state == states[0]
    assert observe(ALLOWED, states, 1) is ALLOWED
    assert observe(apply_rates(ALLOWED, [RateState(SECOND, 0)], 1), (), 1).overage == 0


def test_add_ons_sum_rates_with_the_same_id() -> None:
    base = granting(replace(calls(limit("month", 100)), rates=(SECOND,)))
    more = add_on(Entitlement("calls", rates=(Rate("per_second", 5, RatePeriod.SECOND, 7),)))
    merged = with_add_ons(base, [(more, 3)])["calls"]
    assert merged.rates == (Rate("per_second", 25, RatePeriod.SECOND, 41),)
    assert merged.limits == base["calls"].limits, "what it does not name, it leaves"


@pytest.mark.parametrize("base", [Entitlement("calls"), calls(limit("month", 1))])
def test_an_add_on_brings_no_rate_to_who_has_the_feature_without(base: Entitlement) -> None:
    more = add_on(Entitlement("calls", rates=(SECOND,)))
    assert with_add_ons(granting(base), [(more, 1)])["calls"] == base


def test_an_add_on_brings_no_limit_to_a_plan_that_has_only_rates() -> None:
    base = granting(Entitlement("calls", rates=(SECOND,)))
    more = add_on(calls(limit("month", 100)))
    assert with_add_ons(base, [(more, 1)]) == base
    assert with_add_ons(base, [(add_on(calls()), 1)])["calls"] == calls(), "unlimited lifts both"


def test_the_order_of_add_ons_that_bring_a_feature_decides_nothing() -> None:
    fast = (add_on(Entitlement("calls", rates=(SECOND,)), name="fast"), 2)
    many = (add_on(calls(limit("month", 100)), name="many"), 1)
    either = with_add_ons({}, [fast, many])["calls"]
    other = with_add_ons({}, [many, fast])["calls"]
    assert (either.limits, either.rates) == (other.limits, other.rates)
    assert either.limits == (limit("month", 100),)
    assert either.rates == (Rate("per_second", 20, RatePeriod.SECOND, 40),)


def test_an_override_replaces_the_rates_it_names() -> None:
    hourly = Rate("per_hour", 100, RatePeriod.HOUR, 100)
    base = granting(replace(calls(limit("month", 100)), rates=(SECOND, hourly)))
    faster = replace(SECOND, limit=1_000, burst=1_000)
    merged = with_overrides(base, [override(Entitlement("calls", rates=(faster,)))])["calls"]
    assert merged.rates == (faster, hourly)
    assert merged.limits == (limit("month", 100),)
    limited = with_overrides(base, [override(calls(limit("month", 7)))])["calls"]
    assert limited.rates == (SECOND, hourly)
    lifted = with_overrides(base, [override(calls())])["calls"]
    assert (lifted.limits, lifted.rates) == ((), ())


def test_whose_full_bucket_would_have_admitted_it() -> None:
    assert not would_admit(SECOND, 21, None)
    assert would_admit(SECOND, 20, None)
    assert not would_admit(SECOND, 1, SECOND), "the same rate would have refused alike"
    assert would_admit(replace(SECOND, limit=11), 1, SECOND)
    assert would_admit(replace(SECOND, burst=21), 1, SECOND)
    assert not would_admit(replace(SECOND, period=RatePeriod.MINUTE), 1, SECOND)
    assert would_admit(replace(SECOND, id="other"), 1, SECOND)
