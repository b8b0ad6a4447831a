"""Decisions: a hard limit is never passed, overage adds up, and refusals say what would help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.catalog import Entitlement, FeatureType, Limit, LimitKind
from weighbridge.rules.decision import (
    ALLOWED,
    LimitState,
    Reason,
    decide_metered,
    decide_plain,
    refused,
)
from weighbridge.rules.units import AMOUNT_MAX
from weighbridge.rules.window import LIFETIME_BOUNDS, Window, WindowBounds, WindowKind

NOW_MS = 1_000_000
LIFETIME = Window(WindowKind.LIFETIME)

small = st.integers(0, 40)
amounts = st.one_of(small, st.integers(0, AMOUNT_MAX))
ends = st.one_of(st.none(), st.integers(NOW_MS + 1, NOW_MS + 100))


def state(
    limit: int | None,
    used: int = 0,
    kind: LimitKind = LimitKind.HARD,
    end_ms: int | None = None,
    name: str = "",
) -> LimitState:
    bounds = LIFETIME_BOUNDS if end_ms is None else WindowBounds(0, end_ms)
    return LimitState(Limit(name or f"{kind.value}-{limit}", kind, limit, LIFETIME), bounds, used)


def states_up_to(amount: st.SearchStrategy[int]) -> st.SearchStrategy[list[LimitState]]:
    limits = st.one_of(st.none(), amount)
    kinds = st.sampled_from(LimitKind)
    one = st.builds(state, limit=limits, used=amount, kind=kinds, end_ms=ends)
    return st.lists(one, max_size=5)


states = states_up_to(amounts)
# Small numbers make several limits refuse at once.
small_states = states_up_to(small)


def is_passed(item: LimitState, amount: int) -> bool:
    """Whether an amount goes past a hard limit."""
    limit = item.limit
    return (
        limit.kind is LimitKind.HARD
        and limit.limit is not None
        and amount > 0
        and item.used + amount > limit.limit
    )


@given(states, amounts)
def test_allowed_exactly_where_no_hard_limit_is_passed(
    items: list[LimitState], amount: int
) -> None:
    verdict = decide_metered(items, amount, NOW_MS)

    assert verdict.allowed == (not any(is_passed(item, amount) for item in items))
    assert (verdict.reason is None) == verdict.allowed


@given(states, st.lists(amounts, max_size=20))
def test_admitted_amounts_never_pass_a_hard_limit(
    items: list[LimitState], calls: list[int]
) -> None:
    admitted = 0
    for amount in calls:
        now = [item._replace(used=item.used + admitted) for item in items]
        if decide_metered(now, amount, NOW_MS).allowed:
            admitted += amount

    assert not admitted or not any(is_passed(item, admitted) for item in items)


@given(states, amounts)
def test_overage_is_the_part_of_the_amount_past_the_tightest_soft_limit(
    items: list[LimitState], amount: int
) -> None:
    verdict = decide_metered(items, amount, NOW_MS)
    past = [
        max(item.used + amount - item.limit.limit, 0) - max(item.used - item.limit.limit, 0)
        for item in items
        if item.limit.kind is LimitKind.SOFT and item.limit.limit is not None
    ]

    expected = max(past, default=0) if verdict.allowed else 0
    assert verdict.overage == expected
    assert 0 <= verdict.overage <= amount


@given(states, amounts)
def test_the_amount_offered_instead_passes_and_one_more_does_not(
    items: list[LimitState], amount: int
) -> None:
    verdict = decide_metered(items, amount, NOW_MS)
    if verdict.allowed:
        assert verdict.allowed_amount is None
        return

    offered = verdict.allowed_amount or 0
    assert offered < amount
    assert decide_metered(items, offered, NOW_MS).allowed
    assert not decide_metered(items, offered + 1, NOW_MS).allowed


@given(small_states, small)
def test_after_the_wait_it_names_the_call_passes(items: list[LimitState], amount: int) -> None:
    verdict = decide_metered(items, amount, NOW_MS)
    if verdict.allowed:
        assert verdict.retry_after_ms is None
        return

    wait_ms = verdict.retry_after_ms
    never = any(
        is_passed(item, amount) and (item.bounds.end_ms is None or amount > (item.limit.limit or 0))
        for item in items
    )
    assert (wait_ms is None) == never
    if wait_ms is not None:
        later = NOW_MS + wait_ms
        turned = [item if item.bounds.contains(later) else item._replace(used=0) for item in items]
        assert decide_metered(turned, amount, later).allowed
        turned = [
            item if item.bounds.contains(later - 1) else item._replace(used=0) for item in items
        ]
        assert not decide_metered(turned, amount, later - 1).allowed


@given(states, amounts)
def test_the_limit_it_names_is_the_one_that_matters(items: list[LimitState], amount: int) -> None:
    verdict = decide_metered(items, amount, NOW_MS)
    bounded = [item for item in items if item.limit.limit is not None]
    if not verdict.allowed:
        assert verdict.state is not None
        assert is_passed(verdict.state, amount)
    elif bounded:
        assert verdict.state is not None
        assert verdict.state.limit.limit is not None
        left = verdict.state.limit.limit - verdict.state.used
        assert left == min((i.limit.limit or 0) - i.used for i in bounded)
    else:
        assert verdict.state is None


@given(states)
def test_amount_0_passes_and_costs_nothing(items: list[LimitState]) -> None:
    verdict = decide_metered(items, 0, NOW_MS)

    assert verdict.allowed
    assert verdict.overage == 0


def test_the_last_unit_passes_and_the_next_does_not() -> None:
    assert decide_metered([state(10, used=9)], 1, NOW_MS).allowed
    verdict = decide_metered([state(10, used=10)], 1, NOW_MS)
    assert verdict[:8] == (False, Reason.LIMIT_REACHED, state(10, used=10), None, (), 0, None, None)


def test_a_hard_limit_of_0_admits_only_amount_0() -> None:
    assert decide_metered([state(0)], 0, NOW_MS).allowed
    assert not decide_metered([state(0)], 1, NOW_MS).allowed


def test_of_several_refusing_limits_the_one_that_refuses_longest_is_named() -> None:
    day = state(5, used=5, end_ms=NOW_MS + 10, name="day")
    month = state(9, used=9, end_ms=NOW_MS + 500, name="month")

    for items in ([day, month], [month, day]):
        verdict = decide_metered(items, 1, NOW_MS)
        assert verdict.state == month
        assert verdict.retry_after_ms == 500


def test_a_limit_without_end_outlasts_all_others() -> None:
    day = state(5, used=5, end_ms=NOW_MS + 10, name="day")
    ever = state(9, used=9, name="ever")

    for items in ([day, ever], [ever, day]):
        verdict = decide_metered(items, 1, NOW_MS)
        assert verdict.state == ever
        assert verdict.retry_after_ms is None


def test_waiting_does_not_help_where_an_earlier_limit_can_never_admit_the_amount() -> None:
    """The day turns sooner than the month, yet no day admits 50."""
    day = state(40, used=0, end_ms=NOW_MS + 10, name="day")
    month = state(100, used=90, end_ms=NOW_MS + 500, name="month")

    verdict = decide_metered([day, month], 50, NOW_MS)

    assert verdict.retry_after_ms is None
    assert verdict.state == day
    assert verdict.allowed_amount == 10


def test_a_soft_limit_counts_what_lies_past_it() -> None:
    soft = state(10, used=8, kind=LimitKind.SOFT)

    assert decide_metered([soft], 2, NOW_MS).overage == 0
    assert decide_metered([soft], 5, NOW_MS).overage == 3
    assert decide_metered([state(10, used=15, kind=LimitKind.SOFT)], 5, NOW_MS).overage == 5


def test_a_refused_call_has_no_overage() -> None:
    items = [state(10, used=8, kind=LimitKind.SOFT), state(12, used=8)]

    assert decide_metered(items, 5, NOW_MS).overage == 0


def test_nothing_but_unlimited_always_passes() -> None:
    assert decide_metered([], AMOUNT_MAX, NOW_MS) == ALLOWED
    assert decide_metered([state(None)], AMOUNT_MAX, NOW_MS) == ALLOWED


def test_a_boolean_feature_is_allowed_where_it_is_granted() -> None:
    assert decide_plain(FeatureType.BOOLEAN, Entitlement("sso"), None, "") == ALLOWED


@pytest.mark.parametrize(
    ("number", "amount", "allowed"),
    [
        (10, 10, True),
        (10, 11, False),
        (10, 0, True),
        (10, None, True),
        (None, AMOUNT_MAX, True),
        (0, 1, False),
    ],
)
def test_a_number_is_compared(number: int | None, amount: int | None, allowed: bool) -> None:
    verdict = decide_plain(FeatureType.NUMBER, Entitlement("size", number=number), amount, "")

    assert verdict.allowed is allowed
    assert verdict.number == number
    assert verdict.reason is (None if allowed else Reason.VALUE_NOT_ALLOWED)


@pytest.mark.parametrize(
    ("values", "value", "allowed"),
    [
        (("eu", "us"), "us", True),
        (("eu", "us"), "ap", False),
        (("eu", "us"), "", True),
        ((), "", False),
        ((), "eu", False),
    ],
)
def test_an_enum_value_must_be_listed(values: tuple[str, ...], value: str, allowed: bool) -> None:
    verdict = decide_plain(FeatureType.ENUM, Entitlement("region", values=values), None, value)

    assert verdict.allowed is allowed
    assert verdict.values == values
    assert verdict.reason is (None if allowed else Reason.VALUE_NOT_ALLOWED)


def test_a_refusal_carries_its_reason() -> None:
    verdict = refused(Reason.CUSTOMER_UNKNOWN)

    assert not verdict.allowed
    assert verdict.reason is Reason.CUSTOMER_UNKNOWN
