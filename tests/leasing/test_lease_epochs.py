"""Terms, hellos and ends of epochs: which units go where."""

from __future__ import annotations

from leased import (
    NOW_MS,
    TERMS,
    Leased,
    Sidecar,
    calls_of,
    entry,
    lease_of,
    record,
    terms,
    want,
)

from control_plane.granting.work import Granted, Short
from control_plane.leasing.settling import Draw


def test_a_term_that_ran_out_keeps_units_and_is_renewed(leased: Leased, one: Sidecar) -> None:
    lease_of(leased, one, 30)
    leased.now_ms += TERMS.ttl_ms - 1
    leased.tick()
    assert leased.states() == {one.id: "open"}
    leased.now_ms += 1
    leased.tick()
    assert leased.states() == {one.id: "suspended"}
    assert terms(leased)[1] == 70

    leased.post(renewed={one.id})
    assert leased.states() == {one.id: "open"}


def test_late_settlement_draws_from_what_was_presumed(leased: Leased, one: Sidecar) -> None:
    id_ = lease_of(leased, one, 30)
    leased.now_ms += TERMS.ttl_ms
    leased.tick()
    leased.now_ms += TERMS.lost_after_ms
    leased.tick()
    assert leased.leases()[id_].presumed == 30

    leased.settle(one.spend(id_, 12, leased.now_ms))
    assert leased.leases()[id_].presumed == 18
    assert terms(leased) == (100, 70, 0, 12)

    # The same epoch is heard of again: the rest is its own.
    leased.post(claims=[one.claim()])
    assert leased.leases()[id_].presumed == 0
    one.restart()
    leased.post(claims=[one.claim()])
    assert terms(leased) == (100, 88, 0, 12)


def test_an_epoch_that_ended_gives_back_once_its_records_are_settled(
    leased: Leased, one: Sidecar
) -> None:
    id_ = lease_of(leased, one, 30)
    first, last = one.spend(id_, 10, NOW_MS), one.spend(id_, 5, NOW_MS)
    before = one.id
    one.restart()
    leased.post(claims=[one.claim()])
    assert terms(leased)[1] == 70

    leased.settle(first)
    assert leased.states() == {before: "open"}
    settlement = leased.settle(last)

    assert leased.states() == {before: "closed"}
    assert terms(leased) == (100, 85, 0, 15)
    assert settlement.gains == [(calls_of("acme"), 85)]


def test_an_epoch_that_wrote_nothing_gives_back_at_once(leased: Leased, one: Sidecar) -> None:
    lease_of(leased, one, 30)
    one.restart()

    posted = leased.post(claims=[one.claim()])

    assert terms(leased)[1] == 100
    assert posted.gains == [(calls_of("acme"), 100)]


def test_what_may_be_lost_is_presumed_spent_for_good(leased: Leased, one: Sidecar) -> None:
    id_ = lease_of(leased, one, 30)
    leased.settle(one.spend(id_, 10, NOW_MS))
    kept = one.spend(id_, 5, NOW_MS)
    one.restart()
    leased.post(claims=[one.claim(may_have_lost=True)])
    one.restart()
    # The next start was a clean one, and names the epoch as well.
    leased.post(claims=[one.claim()])
    leased.settle(kept)

    assert leased.leases()[id_].presumed == 15
    assert terms(leased) == (100, 70, 0, 15)


def test_a_lease_that_is_not_listed_ends_and_the_next_one_is_another(
    leased: Leased, one: Sidecar
) -> None:
    lost = lease_of(leased, one, 30)
    spent = one.spend(lost, 4, NOW_MS)
    del one.held[lost]
    leased.post(claims=[one.claim()])
    assert terms(leased)[1] == 70

    again = lease_of(leased, one, 10)
    leased.settle(spent)

    assert again != lost
    assert terms(leased) == (100, 86, 0, 4)


def test_what_was_granted_and_did_not_arrive_goes_back_at_the_hello(
    leased: Leased, one: Sidecar
) -> None:
    id_ = lease_of(leased, one, 10)
    leased.ask(one, want("acme", 20))
    assert terms(leased)[1] == 70

    leased.post(claims=[one.claim()])

    assert terms(leased)[1] == 90
    assert leased.leases()[id_].granted == 10


def test_a_lease_that_the_sidecar_ended_settles_and_the_next_one_is_another(
    leased: Leased, one: Sidecar
) -> None:
    ended = lease_of(leased, one, 30)
    spent = one.spend(ended, 4, NOW_MS)
    said = one.end(ended)
    leased.post(returns=[(one.id, said)])
    leased.post(returns=[(one.id, said)])
    assert terms(leased)[1] == 96

    again = lease_of(leased, one, 10)
    leased.settle(spent)

    assert again != ended
    assert terms(leased) == (100, 86, 0, 4)


def test_units_are_granted_under_the_limit_that_the_sidecar_knows_where_that_is_lower(
    leased: Leased, one: Sidecar, two: Sidecar
) -> None:
    lease_of(leased, two, 30)
    leased.set_limit("acme", 200)

    answer = leased.ask(one, want("acme", 71, limit=100))
    assert isinstance(answer, Short)
    assert [(s.available, s.limit) for s in answer.shortages] == [(70, 100)]
    answer = leased.ask(one, want("acme", 70, limit=100))
    assert isinstance(answer, Granted)
    assert [(each.granted, each.limit) for each in answer.leases] == [(70, 100)]
    answer = leased.ask(two, want("acme", 1, 1, limit=300))
    assert isinstance(answer, Granted)
    assert [each.limit for each in answer.leases] == [200]


def test_what_a_hold_did_not_need_is_put_back_into_its_lease(leased: Leased, one: Sidecar) -> None:
    id_ = lease_of(leased, one, 30)
    leased.settle(one.spend(id_, 20, NOW_MS))
    back = one.record(entry("acme", 0), draws=[Draw(id_, -5)])

    leased.settle(back)

    assert leased.leases()[id_].drawn == 15
    # The usage stands; what the lease has again is taken from the pool.
    assert terms(leased) == (100, 65, 0, 20)


def test_what_is_put_back_into_a_lease_that_ended_goes_to_the_pool(
    leased: Leased, one: Sidecar
) -> None:
    id_ = lease_of(leased, one, 30)
    leased.settle(one.spend(id_, 20, NOW_MS))
    one.restart()
    leased.post(claims=[one.claim()])
    assert terms(leased)[1] == 80

    leased.settle(one.record(entry("acme", 0), draws=[Draw(id_, -5)]))
    assert terms(leased) == (100, 80, 0, 20)
    # More than was drawn cannot be put back, and not by another sidecar.
    wrong = [one.record(entry("acme", 0), draws=[Draw(id_, -16)])]
    wrong.append(record(("sc-2", "e1"), 1, entry("acme", 0), draws=(Draw(id_, -1),)))
    assert leased.settle(*wrong).draws_refused == 2


def test_what_is_put_back_into_a_lease_that_is_held_no_more_waits_for_records_on_their_way(
    leased: Leased, one: Sidecar
) -> None:
    id_ = lease_of(leased, one, 30)
    leased.settle(one.spend(id_, 30, NOW_MS))
    back = one.record(entry("acme", 0), draws=[Draw(id_, -5)])
    again = one.record(entry("acme", 5), draws=[Draw(id_, 5)])
    del one.held[id_]
    leased.post(claims=[one.claim()])

    leased.settle(back)
    assert terms(leased)[1] == 65
    assert leased.settle(again).draws_refused == 0
    assert terms(leased) == (100, 65, 0, 35)


def test_nothing_is_given_to_an_epoch_that_ended(leased: Leased, one: Sidecar) -> None:
    lease_of(leased, one, 10)
    stale = Sidecar("sc-1", "acme")
    one.restart()
    leased.post(claims=[one.claim()])

    assert isinstance(leased.ask(stale, want("acme", 1)), Short)
    assert terms(leased)[1] == 100
