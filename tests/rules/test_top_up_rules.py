"""When credits are bought, how many, for what; and what a part of a limit is."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.credits import MICRO, MoneyRate, TopUp
from weighbridge.rules.errors import ConflictError, FailedPreconditionError
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.thresholds import percents_reached
from weighbridge.rules.top_up import (
    RETRY_MS_MAX,
    RETRY_MS_MIN,
    OrderState,
    failed,
    is_low,
    lowest_reached,
    micro_to_buy,
    month_of,
    paid,
    price_of,
    retry_ms,
)

AMOUNTS = st.integers(0, 10**15)
CAPS = st.integers(1, 10**15) | st.none()
DAY_MS = 86_400_000
MONTH_DAYS_MAX = 31


@given(threshold=AMOUNTS, more=st.integers(1, 10**15), cap=CAPS, unspent=AMOUNTS)
def test_what_is_bought_reaches_the_target_and_never_passes_the_cap(
    threshold: int, more: int, cap: int | None, unspent: int
) -> None:
    top_up = TopUp(
        credit_type="ai",
        threshold_micro=threshold,
        target_micro=threshold + more,
        monthly_cap_micro=cap,
    )
    ordered = 0
    while is_low(top_up, unspent):
        bought = micro_to_buy(top_up, unspent, ordered)
        if not bought:
            assert cap is not None
            assert ordered == cap
            break
        assert unspent + bought <= top_up.target_micro
        ordered += bought
        unspent += bought
    assert cap is None or ordered <= cap
    assert cap is not None or unspent >= threshold


@given(micro=st.integers(0, 10**15), per=st.integers(1, 10**6), price=st.integers(0, 10**6))
def test_a_price_is_never_below_what_the_credits_cost(micro: int, per: int, price: int) -> None:
    amount = Decimal(price).scaleb(-4)
    money = price_of(MoneyRate(Currency("USD", 2), amount, per), micro)
    # In ten-thousandths of a dollar, exactly: minor * 100 * per * MICRO >= price * micro.
    assert money.minor * 100 * per * MICRO >= price * micro
    assert (money.minor - 1) * 100 * per * MICRO < price * micro or money.minor == 0


def test_a_currency_without_minor_units() -> None:
    money = price_of(MoneyRate(Currency("JPY", 0), Decimal(10), 1_000), 1_500 * MICRO)
    assert money == ("JPY", 15)


@given(failures=st.integers(1, 10**6))
def test_waits_grow_to_a_bound(failures: int) -> None:
    assert RETRY_MS_MIN <= retry_ms(failures) <= retry_ms(failures + 1) <= RETRY_MS_MAX


@given(at_ms=st.integers(0, 4_000_000_000_000))
def test_a_month_is_a_calendar_month(at_ms: int) -> None:
    month = month_of(at_ms)
    assert month.contains(at_ms)
    assert month.end_ms is not None
    assert 28 * DAY_MS <= month.end_ms - month.start_ms <= MONTH_DAYS_MAX * DAY_MS
    assert month_of(month.end_ms).start_ms == month.end_ms


@given(answers=st.lists(st.sampled_from(["pay-1", "pay-2", "fail", "expire"]), max_size=20))
def test_what_is_paid_stays_so_by_its_first_payment(answers: list[str]) -> None:
    state, paid_with = OrderState.REQUESTED, None
    for answer in answers:
        before = state
        try:
            if answer == "fail":
                state, is_repeated = failed(state)
                assert is_repeated == (before is not OrderState.REQUESTED)
            elif answer == "expire":
                state = OrderState.EXPIRED if state is OrderState.REQUESTED else state
            else:
                state, is_repeated = paid(state, answer, paid_with)
                assert is_repeated == (before is OrderState.PAID)
                paid_with = paid_with or answer
        except ConflictError:
            assert paid_with not in (None, answer)
        except FailedPreconditionError:
            assert before is OrderState.PAID
        assert (state is OrderState.PAID) == (paid_with is not None)
    first = next((answer for answer in answers if answer.startswith("pay")), None)
    assert paid_with == first


@given(parts=st.lists(st.integers(1, 1_000)), used=AMOUNTS, limit=st.integers(0, 10**15))
def test_parts_that_are_reached(parts: list[int], used: int, limit: int) -> None:
    reached = percents_reached(parts, used, limit)
    assert reached == sorted(part for part in parts if limit and part * limit <= used * 100)


@pytest.mark.parametrize(("unspent", "lowest"), [(60, None), (50, 50), (11, 50), (10, 10), (0, 10)])
def test_the_lowest_threshold_of_a_balance(unspent: int, lowest: int | None) -> None:
    assert lowest_reached((10, 50), unspent) == lowest
