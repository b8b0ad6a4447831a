"""Sharing a rate out: all of it and no more, to whoever has a use for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.rate import Rate, RatePeriod, RateScope, RateState, retry_after_ms
from weighbridge.rules.rate_share import (
    NO_SHARE,
    NUMBER_MAX,
    UNIT_LEVEL,
    RateClaim,
    RateShare,
    shared_out,
    turn_ms,
    water_filled,
    whole_share,
)

CLAIMS = st.lists(
    st.builds(RateClaim, st.none() | st.integers(0, 10**12), st.integers(0, 200)), max_size=12
)
WHOLES = st.builds(RateShare, st.integers(0, 10**12), st.integers(0, 1_000))


@given(WHOLES, CLAIMS)
def test_shares_never_sum_up_to_more_than_there_is(
    whole: RateShare, claims: list[RateClaim]
) -> None:
    shares = shared_out(whole, claims)
    assert len(shares) == len(claims)
    assert sum(share.parts for share in shares) <= whole.parts
    assert sum(share.burst for share in shares) <= whole.burst
    assert all((share.parts > 0) == (share.burst > 0) for share in shares)


@given(st.integers(100, 10**12), st.integers(1, 1_000), CLAIMS.filter(bool))
def test_nothing_is_left_over_and_the_first_in_turn_gets_what_it_needs(
    parts: int, burst: int, claims: list[RateClaim]
) -> None:
    shares = shared_out(RateShare(parts, burst), claims)
    assert sum(share.parts for share in shares) == parts
    assert sum(share.burst for share in shares) == burst
    assert shares[0].burst >= min(max(claims[0].units_min, 1), burst)
    if sum(max(claim.units_min, 1) for claim in claims) <= burst:
        assert NO_SHARE not in shares


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=9))
def test_small_demands_are_met_first(total: int, demands: list[int]) -> None:
    given_ = water_filled(total, demands)
    assert sum(given_) == total
    if sum(max(demand, 1) for demand in demands) <= total:
        assert all(units >= demand for units, demand in zip(given_, demands, strict=True))


def test_a_lone_claim_has_everything_and_two_equal_ones_half() -> None:
    whole = RateShare(1_000, 20)
    assert shared_out(whole, [RateClaim(1)]) == [whole]
    assert shared_out(whole, [RateClaim(), RateClaim()]) == [RateShare(500, 10)] * 2
    assert shared_out(RateShare(1_000, 1), [RateClaim()] * 2) == [RateShare(1_000, 1), NO_SHARE]
    # No more of them than there are parts.
    assert shared_out(RateShare(1, 5), [RateClaim()] * 2) == [RateShare(1, 5), NO_SHARE]


def test_a_share_is_counted_per_hour_whatever_the_period() -> None:
    for period, factor in (
        (RatePeriod.SECOND, 3_600),
        (RatePeriod.MINUTE, 60),
        (RatePeriod.HOUR, 1),
    ):
        rate = Rate("r", 7, period, 3, RateScope.FLEET)
        assert whole_share(rate) == RateShare(7_000 * factor, 3)
    assert whole_share(Rate("r", 2**60, RatePeriod.SECOND, 3)).parts == NUMBER_MAX
    assert UNIT_LEVEL == 3_600_000_000


def test_parts_are_compared_and_subtracted_one_by_one() -> None:
    share, other = RateShare(5, 2), RateShare(3, 4)
    assert not share.is_within(other)
    assert share.least(other) == RateShare(3, 2)
    assert share.least(RateShare(0, 4)) == NO_SHARE
    assert share.minus(other) == RateShare(2, 0)
    assert share.plus(other) == RateShare(8, 6)


def test_turns_are_as_long_as_some_units_take_within_bounds() -> None:
    assert turn_ms(whole_share(Rate("r", 1_000, RatePeriod.SECOND, 1))) == 200
    assert turn_ms(whole_share(Rate("r", 20, RatePeriod.SECOND, 1))) == 500
    assert turn_ms(whole_share(Rate("r", 1, RatePeriod.HOUR, 1))) == 1_000
    assert turn_ms(NO_SHARE) == 1_000


def test_retry_after_counts_what_comes_back_here() -> None:
    rate = Rate("r", 10, RatePeriod.SECOND, 5, RateScope.FLEET)
    half = whole_share(rate).parts // 2
    assert retry_after_ms(RateState(rate, 0, half), 1) == 200
    assert retry_after_ms(RateState(rate, 0, half, wait_ms=900), 1) == 900
    assert retry_after_ms(RateState(rate, 0, 0, wait_ms=700), 1) == 700
    assert retry_after_ms(RateState(rate, 0, half), 6) is None
