"""How much one may hold, and what a settlement may name."""

from __future__ import annotations

import pytest

from weighbridge.rules.reservation import OVERDRAFT, ExcessKind, ExcessPolicy, share_of


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (OVERDRAFT, None),
        (ExcessPolicy(ExcessKind.OVERDRAFT, 5), 15),
        (ExcessPolicy(ExcessKind.OVERDRAFT, 0), 10),
        (ExcessPolicy(ExcessKind.TAKE_AVAILABLE), None),
        (ExcessPolicy(ExcessKind.REJECT), 10),
    ],
)
def test_what_a_settlement_may_name_beside_a_hold_of_ten(
    policy: ExcessPolicy, most: int | None
) -> None:
    assert policy.charged_max(10) == most


def test_a_share_of_some_is_never_nothing() -> None:
    assert [share_of(limit, 25) for limit in (0, 1, 3, 8, 100)] == [0, 1, 1, 2, 25]
