"""Expiry and rollover: booked once, when nobody holds a part, and never past the cap."""

from __future__ import annotations

from typing import Any

import pytest
from credited import DAY_MS, NOW_MS, Credited

from control_plane.crediting.granting import EXPIRED_PER_PAGE, book_expiries
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.ledger import Rollover

SOON_MS = NOW_MS + DAY_MS
LATER_MS = NOW_MS + 2 * DAY_MS


def test_what_is_left_expires_once(credited: Credited) -> None:
    credited.grant(10, expires_at_ms=SOON_MS)
    credited.charge(4)
    assert credited.expire() == 0
    credited.now_ms = SOON_MS
    assert (credited.balance().available, credited.balance().lapsed) == (0, 6)

    assert credited.expire() == 1
    assert credited.expire() == 0

    balance = credited.balance()
    assert (balance.lapsed, balance.totals.expired, balance.settled) == (0, 6, 4)


def roll(credited: Credited, amount: int, cap: int, period_end_ms: int, **terms: Any) -> int:
    return credited.grant(
        amount, rollover=Rollover("sub/monthly", cap, period_end_ms), **terms
    ).number


def test_of_what_periods_left_the_cap_stays(credited: Credited) -> None:
    first = roll(credited, 100, 30, SOON_MS)
    credited.charge(50, key="c")
    credited.now_ms = SOON_MS
    balance = credited.balance()
    assert (balance.available, balance.lapsed) == (30, 20)

    second = roll(credited, 100, 30, LATER_MS)

    assert credited.left() == {first: 30, second: 100}
    assert credited.balance().totals.expired == 20
    credited.charge(10)
    credited.now_ms = LATER_MS
    # 20 of the first and 100 of the second are left: what burns first lapses first.
    assert (credited.balance().available, credited.balance().lapsed) == (30, 90)
    credited.post(book_expiries)
    assert credited.left() == {second: 30}
    # What is refunded after that is past the cap.
    credited.reverse("c", 40)
    credited.post(book_expiries)
    assert credited.balance().available == 30
    assert credited.balance().totals.expired == 150


def test_what_stays_expires_by_its_own_date(credited: Credited) -> None:
    roll(credited, 100, 30, SOON_MS, expires_at_ms=LATER_MS)
    credited.now_ms = LATER_MS
    assert credited.balance().available == 0
    assert credited.expire() == 1
    assert credited.balance().totals.expired == 100


def test_the_newest_cap_counts_and_series_are_apart(credited: Credited) -> None:
    roll(credited, 100, 30, SOON_MS)
    roll(credited, 100, 10, SOON_MS + 1)
    credited.grant(50, rollover=Rollover("sub/other", 0, SOON_MS))
    credited.now_ms = SOON_MS
    assert credited.balance().available == 130
    credited.now_ms = SOON_MS + 1
    assert credited.balance().available == 10


def test_a_charge_finds_only_what_stays(credited: Credited) -> None:
    roll(credited, 100, 30, SOON_MS)
    credited.now_ms = SOON_MS
    with pytest.raises(FailedPreconditionError, match="lacks 1 of"):
        credited.charge(31)
    credited.charge(30)
    assert credited.balance().totals.expired == 70


def test_a_cap_waits_for_what_is_handed_out(credited: Credited) -> None:
    roll(credited, 100, 30, SOON_MS)
    credited.carve("lease-1", 60)
    credited.now_ms = SOON_MS
    credited.post(book_expiries)
    assert credited.left() == {1: 60}
    credited.charge(20, holder="lease-1")
    credited.give_back("lease-1", 40)
    credited.post(book_expiries)
    assert credited.left() == {1: 30}


def test_what_is_handed_out_keeps_its_grant_open(credited: Credited) -> None:
    credited.grant(10, expires_at_ms=SOON_MS)
    credited.carve("lease-1", 4)
    credited.now_ms = SOON_MS

    assert credited.expire() == 0
    credited.charge(3, holder="lease-1", at_ms=SOON_MS - 1)
    assert credited.expire() == 0
    credited.give_back("lease-1", 1)

    assert credited.expire() == 1
    assert credited.balance().totals.expired == 7


def test_expiries_come_in_pages(credited: Credited) -> None:
    for _ in range(3):
        credited.grant(1, expires_at_ms=SOON_MS)
    credited.now_ms = SOON_MS
    assert EXPIRED_PER_PAGE > 3
    assert credited.expire() == 3
