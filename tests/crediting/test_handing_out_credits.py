"""Tranches: parts of grants that are handed out, and what becomes of them."""

from __future__ import annotations

import pytest
from credited import DAY_MS, NOW_MS, Credited

from control_plane import crediting
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.ledger import EntryKind, Part


def held(credited: Credited, holder: str) -> dict[int, int]:
    return credited.post(lambda book: dict(crediting.held_by(book, holder)))


def test_what_is_handed_out_nobody_else_can_spend(credited: Credited) -> None:
    first = credited.grant(10, expires_at_ms=NOW_MS + DAY_MS).number
    second = credited.grant(10).number

    carved = credited.carve("lease-1", 15)

    assert carved == ((Part(first, 10), Part(second, 5)), 0)
    assert (credited.balance().available, credited.balance().reserved) == (5, 15)
    assert credited.carve("lease-2", 9) == ((Part(second, 5),), 4)
    with pytest.raises(FailedPreconditionError, match="lacks 1"):
        credited.charge(1)
    with pytest.raises(FailedPreconditionError, match="nobody holds"):
        credited.adjust(first, -1)


def test_a_holder_charges_its_own_and_the_rest(credited: Credited) -> None:
    first = credited.grant(10, expires_at_ms=NOW_MS + DAY_MS).number
    second = credited.grant(10).number
    credited.carve("lease-1", 12)

    paid = credited.charge(11, holder="lease-1")

    assert paid.entries == ((f"grant:{first}", -10), (f"grant:{second}", -1), ("spent", 11))
    assert held(credited, "lease-1") == {second: 1}
    # More than it holds: the rest is what nobody holds.
    credited.charge(5, holder="lease-1")
    assert held(credited, "lease-1") == {}
    assert (credited.balance().available, credited.balance().reserved) == (4, 0)


def test_a_charge_paid_elsewhere_shrinks_what_is_held(credited: Credited) -> None:
    old = credited.grant(10).number
    credited.carve("lease-1", 6)
    sooner = credited.grant(10, expires_at_ms=NOW_MS + DAY_MS).number

    paid = credited.charge(4, holder="lease-1")

    assert paid.entries == ((f"grant:{sooner}", -4), ("spent", 4))
    assert held(credited, "lease-1") == {old: 2}
    assert credited.balance().available == 14


def test_what_burns_last_is_given_back_first(credited: Credited) -> None:
    first = credited.grant(10, expires_at_ms=NOW_MS + DAY_MS).number
    credited.grant(10)
    credited.carve("lease-1", 15)
    credited.give_back("lease-1", 8)
    assert held(credited, "lease-1") == {first: 7}
    with pytest.raises(FailedPreconditionError, match="'lease-1' holds 7 micro-credits, not 8"):
        credited.give_back("lease-1", 8)


def test_what_is_presumed_spent_can_be_taken_back(credited: Credited) -> None:
    credited.grant(10)
    credited.carve("lease-1", 6)

    def presume(book: crediting.Book) -> crediting.Transaction:
        return crediting.presume(book, "lost-1", "lease-1", NOW_MS)

    lost = credited.post(presume)
    assert (lost.kind, lost.entries) == (EntryKind.PRESUME, (("grant:1", -6), ("presumed", 6)))
    assert credited.post(presume).is_repeated
    assert (credited.balance().available, credited.balance().totals.presumed) == (4, 6)

    found = credited.reverse("lost-1")

    assert found.kind is EntryKind.PRESUME_REVERSAL
    credited.charge(2)
    assert (credited.balance().available, credited.balance().totals.presumed) == (8, 0)
