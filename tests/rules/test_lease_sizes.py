"""How many units a sidecar asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.lease import FIRST_FACTOR, KEPT_SPAN_MS, REFILL_SPAN_MS, wanted_units
from weighbridge.rules.units import COUNTER_MAX


def test_a_first_lease_is_for_a_few_calls() -> None:
    assert wanted_units(3, 0, 0) == 3 * FIRST_FACTOR
    assert wanted_units(0, 0, 1_000) == 1


def test_what_is_spent_fast_is_refilled_for_some_seconds() -> None:
    assert wanted_units(0, 1_000, 1_000) == 1_000 * REFILL_SPAN_MS // 1_000
    assert wanted_units(5, 1_000, 1_000) == 5 + 1_000 * REFILL_SPAN_MS // 1_000


def test_what_is_spent_slowly_is_filled_up_again_and_shrinks_when_it_is_hardly_spent() -> None:
    assert wanted_units(0, 9, REFILL_SPAN_MS * 10) == 9
    assert wanted_units(0, 9, KEPT_SPAN_MS * 3) == 3
    assert wanted_units(0, 1, KEPT_SPAN_MS * 3) == 1


@given(st.integers(0, COUNTER_MAX), st.integers(0, COUNTER_MAX), st.integers(0, 10**9))
def test_it_is_never_less_than_what_calls_wait_for(waited: int, spent: int, span: int) -> None:
    assert max(waited, 1) <= wanted_units(waited, spent, span) <= COUNTER_MAX
