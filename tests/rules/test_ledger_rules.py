"""The ledger's rules: the burn order, what lapses, and entries that always sum to zero."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.credits import GrantKind
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.ledger import (
    Burn,
    EntryKind,
    Grant,
    Lot,
    Part,
    Rollover,
    Totals,
    adjustment_entries,
    balance_of,
    burn,
    expire_entries,
    grant_account,
    grant_entries,
    grant_of,
    in_burn_order,
    lapses,
    presume_entries,
    refund_entries,
    require_balanced,
    reversal_entries,
    settle_entries,
)

instants = st.integers(0, 10)
amounts = st.integers(0, 50)


@st.composite
def lots(draw: st.DrawFn) -> list[Lot]:
    made = []
    for number in range(draw(st.integers(0, 6))):
        balance = draw(amounts)
        rollover = st.builds(Rollover, st.sampled_from("ab"), amounts, instants)
        grant = Grant(
            id=number,
            kind=draw(st.sampled_from(GrantKind)),
            amount=50,
            effective_at_ms=draw(instants),
            expires_at_ms=draw(st.none() | instants),
            priority=draw(st.integers(0, 2)),
            rollover=draw(st.none() | rollover),
        )
        made.append(Lot(grant, balance, draw(st.integers(0, balance))))
    return made


def grant(number: int = 1, **terms: object) -> Grant:
    return Grant(**{"id": number, "kind": GrantKind.PREPAID, "amount": 5, "effective_at_ms": 0,
                    **terms})  # type: ignore[arg-type] # fmt: skip


def test_the_burn_order_in_full() -> None:
    ordered = [
        grant(9, priority=1),
        grant(8, expires_at_ms=5, kind=GrantKind.TRIAL, effective_at_ms=4),
        grant(7, expires_at_ms=5, effective_at_ms=1),
        grant(1, expires_at_ms=5, effective_at_ms=2),
        grant(6, expires_at_ms=9),
        grant(5, kind=GrantKind.PROMOTIONAL),
        grant(2),
        grant(3),
    ]
    burning = in_burn_order(Lot(each, 1) for each in reversed(ordered))
    assert [lot.grant for lot in burning] == ordered


@given(lots(), amounts, instants)
def test_burning_takes_what_is_free_in_order_and_no_more(
    having: list[Lot], amount: int, at_ms: int
) -> None:
    burned = burn(having, amount, at_ms)

    taken = dict(burned.parts)
    assert sum(taken.values()) + burned.shortfall == amount
    spendable = [lot for lot in in_burn_order(having) if lot.grant.is_spendable(at_ms)]
    assert burned.shortfall == max(amount - sum(lot.free for lot in spendable), 0)
    for sooner, later in pairwise(spendable):
        assert not taken.get(later.grant.id) or taken.get(sooner.grant.id, 0) == sooner.free
    require_balanced(settle_entries(burned))


@given(lots(), amounts, instants)
def test_what_is_reserved_for_a_charge_pays_it_too(
    having: list[Lot], amount: int, at_ms: int
) -> None:
    own = {lot.grant.id: lot.reserved for lot in having}
    unreserved = [Lot(lot.grant, lot.balance) for lot in having]
    assert burn(having, amount, at_ms, own) == burn(unreserved, amount, at_ms)


@given(lots(), instants)
def test_lapses_leave_at_most_the_cap_and_nothing_that_expired(
    having: list[Lot], at_ms: int
) -> None:
    left = {lot.grant.id: lot for lot in having}
    for lapse in lapses(having, at_ms):
        lot = left[lapse.part.grant]
        assert 0 < lapse.part.amount <= lot.free
        assert lapse.since_ms <= at_ms
        left[lapse.part.grant] = Lot(lot.grant, lot.balance - lapse.part.amount, lot.reserved)
    assert lapses(left.values(), at_ms) == ()
    for lot in left.values():
        assert not lot.grant.is_over(at_ms) or lot.reserved or not lot.balance
    for series in "ab":
        old = [
            lot
            for lot in left.values()
            if lot.grant.rollover is not None
            and lot.grant.rollover.series == series
            and lot.grant.rollover.period_end_ms <= at_ms
            and not lot.grant.is_over(at_ms)
        ]
        if old:
            newest = max(each.grant.rollover.period_end_ms for each in old)  # type: ignore[union-attr]
            caps = [
                each.grant.rollover.cap  # type: ignore[union-attr]
                for each in old
                if each.grant.rollover.period_end_ms == newest  # type: ignore[union-attr]
            ]
            assert sum(lot.free for lot in old) == 0 or sum(lot.balance for lot in old) <= max(caps)


@given(lots(), instants)
def test_a_balance_tells_every_micro_credit_apart(having: list[Lot], at_ms: int) -> None:
    balance = balance_of(having, Totals(settled=7), at_ms)
    parts = (balance.available, balance.reserved, balance.scheduled, balance.lapsed)
    assert min(parts) >= 0
    assert sum(parts) == sum(lot.balance for lot in having)
    assert balance.settled == 7


def test_a_balance_by_hand() -> None:
    having = [
        Lot(grant(1), 10, 4),
        Lot(grant(2, effective_at_ms=9), 5),
        Lot(grant(3, expires_at_ms=2), 6, 1),
        Lot(grant(4, rollover=Rollover("s", 3, 4)), 8),
    ]
    balance = balance_of(having, Totals(), 5)
    assert (balance.available, balance.reserved, balance.scheduled, balance.lapsed) == (9, 5, 5, 10)
    assert lapses(having, 5) == ((EntryKind.ROLLOVER, 4, (4, 5)),)


@given(st.lists(st.integers(1, 20), max_size=4), st.integers(0, 20), st.integers(0, 120))
def test_a_refund_leaves_what_a_smaller_charge_would_have_taken(
    taken: list[int], overage: int, amount: int
) -> None:
    having = [Lot(grant(number), each) for number, each in enumerate(taken)]
    spent = sum(taken) + overage
    burned = burn(having, spent, 0)
    if amount > spent:
        with pytest.raises(InvalidArgumentError, match="is more than the"):
            refund_entries(burned, amount)
        return
    kept: dict[str, int] = {}
    for account, change in (*settle_entries(burned), *refund_entries(burned, amount)):
        kept[account] = kept.get(account, 0) + change
    smaller = dict(settle_entries(burn(having, spent - amount, 0)))
    assert {account: change for account, change in kept.items() if change} == smaller


def test_entries_sum_to_zero() -> None:
    made = [
        grant_entries(1, 5),
        adjustment_entries(1, 5),
        adjustment_entries(1, -5),
        expire_entries(1, 5),
        presume_entries([Part(1, 3), Part(2, 2)]),
        settle_entries(Burn((Part(1, 3),), 2)),
        reversal_entries({"issued": 5, "grant:1": -5, "spent": 0}),
    ]
    assert [require_balanced(entries) for entries in made] == [5] * 7
    assert settle_entries(Burn((), 0)) == ()
    with pytest.raises(AssertionError, match="sum to zero"):
        require_balanced(grant_entries(1, 5)[1:])
    assert grant_of(grant_account(12)) == 12
    assert grant_of("spent") is None


def test_totals_follow_entries() -> None:
    totals = Totals().with_entries(grant_entries(1, 10))
    totals = totals.with_entries(settle_entries(Burn((Part(1, 4),), 2)))
    totals = totals.with_entries(presume_entries([Part(1, 1)]))
    totals = totals.with_entries(expire_entries(1, 2)).with_entries(adjustment_entries(1, -3))
    assert totals == Totals(granted=10, overage=2, settled=6, presumed=1, expired=2, withdrawn=3)
