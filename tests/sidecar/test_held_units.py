"""What a hold drew from a lease, and what of it is not needed: each pool in its own unit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.reservations import HeldUnits

AMOUNTS = st.integers(min_value=1, max_value=10**6)


@given(amount=AMOUNTS, unused=st.integers(min_value=0, max_value=2 * 10**6))
def test_a_pool_of_the_features_own_units_gets_back_just_what_was_not_used(
    amount: int, unused: int
) -> None:
    assert HeldUnits(None, 1, amount, amount).surplus(unused) == min(unused, amount)


@given(
    amount=AMOUNTS,
    more=AMOUNTS,
    used=st.integers(min_value=0, max_value=2 * 10**6),
    micro=st.integers(min_value=0, max_value=10**9),
)
def test_what_is_kept_pays_for_what_was_used_and_all_comes_back_where_nothing_was(
    amount: int, more: int, used: int, micro: int
) -> None:
    def cost(units: int) -> int:
        return -(-units * micro // 10**6)

    held = HeldUnits(None, 1, cost(amount), amount).with_more(cost(more), more)
    total = amount + more
    kept = held.units - held.surplus(max(total - used, 0))
    assert min(cost(min(used, total)), held.units) <= kept <= held.units
    assert held.surplus(total) == held.units
