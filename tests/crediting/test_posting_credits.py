"""Grants, charges, refunds and reversals: what they post, refuse, and answer a second time."""

from __future__ import annotations

from typing import Any

import pytest
from credited import DAY_MS, LEDGER, NOW_MS, Credited

from control_plane import crediting
from control_plane.crediting import Charge, LedgerId, Price, UsageReference
from weighbridge.rules.credits import MICRO_MAX, GrantKind
from weighbridge.rules.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.ledger import EntryKind, Rollover

SOON_MS = NOW_MS + DAY_MS


def test_a_grant_is_spendable_and_spent(credited: Credited) -> None:
    made = credited.grant(100)
    assert (made.number, made.kind, made.entries) == (
        1, EntryKind.GRANT, (("grant:1", 100), ("issued", -100)),
    )  # fmt: skip

    paid = credited.charge(30, usage=UsageReference("order-1", "sc-1", "e1", 7))

    assert paid.entries == (("grant:1", -30), ("spent", 30))
    balance = credited.balance()
    assert (balance.available, balance.settled, balance.totals.granted) == (70, 30, 100)


def test_what_expires_first_burns_first_at_the_time_of_use(credited: Credited) -> None:
    never = credited.grant(10).number
    later = credited.grant(10, expires_at_ms=SOON_MS + 1).number
    soon = credited.grant(10, expires_at_ms=SOON_MS).number
    first = credited.grant(10, priority=1).number
    coming = credited.grant(10, priority=0, effective_at_ms=NOW_MS + 1).number
    gift = credited.grant(10, kind=GrantKind.PROMOTIONAL, expires_at_ms=SOON_MS).number

    paid = credited.charge(35)

    taken = {account: amount for account, amount in paid.entries if amount < 0}
    assert taken == {
        f"grant:{first}": -10, f"grant:{gift}": -10, f"grant:{soon}": -10, f"grant:{later}": -5,
    }  # fmt: skip
    assert credited.left() == {coming: 10, later: 5, never: 10}
    credited.now_ms = NOW_MS + 2
    # Used before the coming grant was effective: it does not pay.
    assert credited.charge(5, at_ms=NOW_MS).entries[0].account == f"grant:{later}"
    assert credited.charge(5).entries[0].account == f"grant:{coming}"


def test_credits_that_do_not_suffice_refuse_and_bind_no_key(credited: Credited) -> None:
    credited.grant(10)
    with pytest.raises(FailedPreconditionError, match="lacks 5 of the 15 micro-credits"):
        credited.charge(15, key="order")
    with pytest.raises(FailedPreconditionError, match="lacks 1 of the 15 micro-credits"):
        credited.charge(15, key="order", overage_max=4)

    paid = credited.charge(15, key="order", overage_max=5)

    assert paid.entries == (("grant:1", -10), ("overage", -5), ("spent", 15))
    assert credited.balance().totals.overage == 5
    assert credited.charge(7, overage_max=None).entries == (("overage", -7), ("spent", 7))


def test_a_charge_of_nothing_is_valid(credited: Credited) -> None:
    assert credited.charge(0).entries == ()
    assert credited.balance().available == 0


def test_a_key_gets_the_first_answer_and_no_other_payload(credited: Credited) -> None:
    first = credited.grant(100, key="g")
    again = credited.grant(100, key="g")
    assert again.is_repeated
    assert (again.number, again.entries) == (first.number, first.entries)
    with pytest.raises(ConflictError, match="'g' is that of transaction 1"):
        credited.grant(101, key="g")
    with pytest.raises(ConflictError):
        credited.charge(100, key="g")
    wanted = Charge("g", 1)
    with pytest.raises(ConflictError):
        credited.post(lambda book: crediting.charge(book, wanted), LedgerId("acme", "other"))
    paid = credited.charge(1, key="c")
    credited.now_ms += 1
    assert credited.charge(1, key="c").number == paid.number
    # A key is the customer's own.
    other = LedgerId("beta", "credits")
    new = crediting.NewGrant("g", GrantKind.MANUAL, 1)
    assert credited.post(lambda book: crediting.create_grant(book, new), other).number == 1


def test_several_in_one_transaction_see_each_other(credited: Credited) -> None:
    def work(book: crediting.Book) -> list[int]:
        new = crediting.NewGrant("g", GrantKind.MANUAL, 10)
        made = [crediting.create_grant(book, new), crediting.charge(book, Charge("c", 4))]
        made.append(crediting.charge(book, Charge("c", 4)))
        made.append(crediting.reverse(book, crediting.Reversal("r", "c")))
        with pytest.raises(FailedPreconditionError, match="taken back already"):
            crediting.reverse(book, crediting.Reversal("r2", "c"))
        with pytest.raises(FailedPreconditionError, match="lacks 1"):
            crediting.charge(book, Charge("d", 11))
        return [each.number for each in made]

    assert credited.post(work) == [1, 2, 2, 3]
    assert credited.balance().available == 10


def test_a_charge_is_reversed_once_and_whole(credited: Credited) -> None:
    credited.grant(10, expires_at_ms=SOON_MS)
    credited.grant(10)
    credited.charge(25, key="order", overage_max=None)

    taken_back = credited.reverse("order")

    assert taken_back.kind is EntryKind.REVERSAL
    assert taken_back.reverses == 3
    balance = credited.balance()
    assert (balance.available, balance.settled, balance.totals.overage) == (20, 0, 0)
    with pytest.raises(FailedPreconditionError, match=r"transaction 3 .* is taken back already"):
        credited.reverse("order")
    with pytest.raises(FailedPreconditionError, match="is itself a reversal"):
        credited.reverse(taken_back.key)
    with pytest.raises(NotFoundError, match="no transaction with key 'nothing'"):
        credited.reverse("nothing")


def test_refunds_undo_what_burned_last(credited: Credited) -> None:
    first = credited.grant(10, expires_at_ms=SOON_MS).number
    second = credited.grant(10).number
    credited.charge(25, key="order", overage_max=None)

    assert credited.reverse("order", 8).entries == (
        (f"grant:{second}", 3),
        ("overage", 5),
        ("spent", -8),
    )
    assert credited.reverse("order", 9).entries == (
        (f"grant:{first}", 2), (f"grant:{second}", 7), ("spent", -9),
    )  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="amount: 9 is more than the 8 that are spent"):
        credited.reverse("order", 9)
    rest = credited.reverse("order")
    assert rest.entries == ((f"grant:{first}", 8), ("spent", -8))
    with pytest.raises(FailedPreconditionError, match="taken back already"):
        credited.reverse("order", 1)


def test_a_grant_is_reversed_only_while_it_is_whole(credited: Credited) -> None:
    credited.grant(10, key="g")
    credited.charge(4, key="c")
    with pytest.raises(FailedPreconditionError, match=r"has 6 micro-credits left .* not the 10"):
        credited.reverse("g")
    with pytest.raises(InvalidArgumentError, match="amount: goes with a charge only"):
        credited.reverse("g", 6)
    credited.reverse("c")
    credited.reverse("g")
    assert credited.balance().totals == (0, 0, 0, 0, 0, 0)
    assert credited.left() == {}


def test_grants_are_added_to_and_withdrawn_from(credited: Credited) -> None:
    grant = credited.grant(10).number
    credited.adjust(grant, 5)
    credited.adjust(grant, -12)
    with pytest.raises(FailedPreconditionError, match="has 3 micro-credits left"):
        credited.adjust(grant, -4)
    with pytest.raises(NotFoundError, match="has no grant 99"):
        credited.adjust(99, 1)
    with pytest.raises(InvalidArgumentError, match="change: is 0"):
        credited.adjust(grant, 0)
    totals = credited.balance().totals
    assert (totals.granted, totals.withdrawn) == (15, 12)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"amount": 0}, "amount: 0 is not 1 to"),
        ({"amount": MICRO_MAX + 1}, "amount: "),
        ({"priority": -1}, "priority: -1 is not 0 to 1000"),
        ({"expires_at_ms": NOW_MS}, "expires_at_unix_ms: .* has passed"),
        ({"expires_at_ms": SOON_MS, "effective_at_ms": SOON_MS}, "expires_at_unix_ms"),
        ({"effective_at_ms": -1}, "effective_at_unix_ms: -1 is negative"),
        ({"rollover": Rollover("s", -5, SOON_MS)}, "rollover.cap_micro: -5 is not 0 to"),
        ({"rollover": Rollover("s", 5, -1)}, "rollover.period_end_unix_ms: -1 is negative"),
        ({"rollover": Rollover("s" * 257, 5, 1)}, "rollover.series: has 257"),
        ({"price": Price("usd", 5)}, "price.currency: is not an ISO 4217 code"),
        ({"price": Price("USD", -5)}, "price.amount_minor"),
        ({"note": "x" * 257}, "note: has 257 characters"),
        ({"key": "k" * 257}, "key: has 257"),
    ],
)
def test_a_bad_grant_is_refused(credited: Credited, terms: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        credited.grant(**{"amount": 1, **terms})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"amount": -1}, "amount: -1 is not 0 to"),
        ({"at_ms": NOW_MS + 2 * DAY_MS}, "at_unix_ms: .* is more than a day ahead"),
        ({"overage_max": -1}, "overage_max_micro: -1"),
        ({"usage": UsageReference("k" * 257)}, "usage.event_key"),
        ({"usage": UsageReference("", "no id!")}, "usage.sidecar_id"),
        ({"usage": UsageReference("", "s", "e", -1)}, "usage.record_number"),
    ],
)
def test_a_bad_charge_is_refused(credited: Credited, terms: dict[str, Any], message: str) -> None:
    credited.grant(10)
    with pytest.raises(InvalidArgumentError, match=message):
        credited.charge(**{"amount": 1, **terms})


def test_who_is_not_there_has_no_ledger(credited: Credited) -> None:
    new = crediting.NewGrant("g", GrantKind.MANUAL, 1)
    with pytest.raises(NotFoundError, match="customer 'nobody' does not exist"):
        credited.post(lambda book: crediting.create_grant(book, new), LedgerId("nobody", "c"))
    empty = crediting.NewGrant("", GrantKind.MANUAL, 1)
    with pytest.raises(InvalidArgumentError, match="key: is empty"):
        credited.post(lambda book: crediting.create_grant(book, empty), LEDGER)


def test_a_ledger_has_room_for_so_much(credited: Credited, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = credited.grant(MICRO_MAX).number
    monkeypatch.setattr("control_plane.crediting.book.LEDGER_MICROS_MAX", MICRO_MAX + 5)
    credited.adjust(grant, 5)
    with pytest.raises(FailedPreconditionError, match="would pass"):
        credited.adjust(grant, 1)
