"""What settled usage, hellos and terms do to pools and leases."""

from __future__ import annotations

import pytest
from leased import (
    DAY_MS,
    NOW_MS,
    Leased,
    Sidecar,
    calls_of,
    entry,
    granted,
    lease_of,
    record,
    terms,
    want,
)

from control_plane.granting.work import Granted, Short, Want
from control_plane.leasing.holding import Returned
from control_plane.leasing.settling import Draw
from control_plane.metering.records import KeyScope
from weighbridge.rules.lease import PoolKey

MONTH_START_MS = 1_761_955_200_000
DAY_START_MS = NOW_MS // DAY_MS * DAY_MS
MONTH = PoolKey("acme", "", "jobs", "month", MONTH_START_MS)
DAY = PoolKey("acme", "", "jobs", "day", DAY_START_MS)


def test_usage_is_taken_from_the_lease_it_was_drawn_from(leased: Leased, one: Sidecar) -> None:
    id_ = lease_of(leased, one, 30)
    assert terms(leased) == (100, 70, 0, 0)

    leased.settle(one.spend(id_, 12, NOW_MS), one.spend(id_, 5, NOW_MS))

    assert terms(leased) == (100, 70, 0, 17)
    row = leased.leases()[id_]
    assert (row.granted, row.drawn, row.returned, row.presumed) == (30, 17, 0, 0)


def test_usage_without_a_lease_is_taken_from_the_pool_and_past_it_is_overage(
    leased: Leased, one: Sidecar
) -> None:
    lease_of(leased, one, 30)

    leased.settle(one.record(entry("acme", 60)))
    assert terms(leased) == (100, 10, 0, 60)
    leased.settle(one.record(entry("acme", 25)))
    assert terms(leased) == (100, 0, 15, 85)


def test_a_record_sent_again_draws_once(leased: Leased, one: Sidecar) -> None:
    spent = one.spend(lease_of(leased, one, 30), 12, NOW_MS)

    leased.settle(spent)
    assert leased.settle(spent).records_repeated == 1

    assert terms(leased) == (100, 70, 0, 12)


def test_what_a_record_drew_and_does_not_count_goes_back(leased: Leased, one: Sidecar) -> None:
    id_ = lease_of(leased, one, 30)
    keyed = entry(
        "acme", 8, key="k", key_scope=KeyScope.FLEET, payload_digest=b"d", feature="calls"
    )
    one.held[id_].drawn += 16
    first = one.record(keyed, draws=[Draw(id_, 8)])
    again = one.record(keyed, draws=[Draw(id_, 8)])
    one.held[id_].drawn += 4
    unknown = one.record(entry("acme", 4, feature="nothing"), draws=[Draw(id_, 4)])

    settlement = leased.settle(first, again, unknown)

    assert (settlement.keys_repeated, settlement.set_aside.total()) == (1, 1)
    assert terms(leased) == (100, 82, 0, 8)
    assert [gain.available for gain in settlement.gains] == [82]


@pytest.mark.parametrize("wrong", ["unknown", "of another sidecar", "of another epoch", "too much"])
def test_draws_that_a_lease_has_not_settle_as_usage_without_one(
    leased: Leased, one: Sidecar, two: Sidecar, wrong: str
) -> None:
    id_ = lease_of(leased, one, 10)
    epoch = {"of another sidecar": two.id, "of another epoch": ("sc-1", "e9")}.get(wrong, one.id)
    draw = Draw(77 if wrong == "unknown" else id_, 11 if wrong == "too much" else 4)

    settlement = leased.settle(record(epoch, 1, entry("acme", draw.units), draws=(draw,)))

    assert (settlement.events, settlement.draws_refused, settlement.reports) == (1, 1, [])
    assert terms(leased) == (100, 90 - draw.units, 0, draw.units)
    assert leased.leases()[id_].drawn == 0


def test_draws_of_nothing_ever_leased_are_counted(leased: Leased, one: Sidecar) -> None:
    settlement = leased.settle(record(one.id, 1, entry("acme"), draws=(Draw(5, 1),)))

    assert (settlement.events, settlement.draws_refused) == (1, 1)


@pytest.mark.parametrize(
    ("draws", "problem"),
    [
        ((Draw(0, 1),), "draws[0].lease"),
        ((Draw(-4, 1),), "draws[0].lease"),
        ((Draw(4, 1), Draw(4, 1)), "names a lease twice"),
    ],
)
def test_records_with_impossible_draws_are_set_aside(
    leased: Leased, one: Sidecar, draws: tuple[Draw, ...], problem: str
) -> None:
    settlement = leased.settle(record(one.id, 1, entry("acme"), draws=draws))

    assert problem in settlement.reports[0].detail
    assert settlement.events == 0


def test_limits_of_one_window_share_a_total(leased: Leased, one: Sidecar) -> None:
    answer = leased.ask(one, Want(MONTH, 5, 5, 100), Want(DAY, 5, 5, 100))
    assert sorted(granted(answer).values()) == [5, 5]
    month, day = (each.id for each in answer.leases)  # type: ignore[union-attr]

    leased.settle(
        record(one.id, 1, entry("acme", 5, feature="jobs"), draws=(Draw(month, 5), Draw(day, 5))),
        record(one.id, 2, entry("acme", 3, feature="jobs", at_ms=NOW_MS - DAY_MS)),
    )

    assert terms(leased, MONTH) == (60, 52, 0, 8)
    assert terms(leased, DAY) == (20, 15, 0, 5)


def test_a_pool_starts_from_what_was_used_and_is_counted_from_then_on(
    leased: Leased, one: Sidecar
) -> None:
    leased.settle(one.record(entry("acme", 130)))

    assert isinstance(leased.ask(one, want("acme", 1)), Short)
    assert terms(leased) == (100, 0, 30, 130)


def test_a_window_that_was_not_counted_for_a_while_is_posted_before_anything_is_given(
    leased: Leased, one: Sidecar
) -> None:
    id_ = lease_of(leased, one, 10)
    leased.subscribe("acme", "trial")
    # Nothing counts calls now; the total's row goes, and usage passes it by.
    leased.settle(one.spend(id_, 4, NOW_MS), one.record(entry("acme", 20)))
    leased.subscribe("acme", "pro")
    leased.settle(one.record(entry("acme", 1)))

    answer = leased.ask(one, want("acme", 70, 100))

    assert isinstance(answer, Short)
    assert terms(leased) == (100, 69, 0, 25)


def test_a_lowered_limit_takes_what_is_left_now_and_the_rest_as_it_comes_back(
    leased: Leased, one: Sidecar, two: Sidecar
) -> None:
    id_ = lease_of(leased, one, 50)
    leased.settle(one.spend(id_, 20, NOW_MS))
    leased.set_limit("acme", 30)

    assert isinstance(leased.ask(two, want("acme", 1)), Short)
    assert terms(leased) == (50, 0, 0, 20)
    leased.post(returns=[(one.id, one.give_back(id_, 15))])
    assert terms(leased) == (35, 0, 0, 20)
    posted = leased.post(returns=[(one.id, one.give_back(id_, 15))])
    assert terms(leased) == (30, 10, 0, 20)
    assert posted.gains == [(calls_of("acme"), 10)]
    assert leased.ask(two, want("acme", 10)).leases[0].limit == 30  # type: ignore[union-attr]


def test_a_raised_limit_covers_overage_first(leased: Leased, one: Sidecar) -> None:
    lease_of(leased, one, 10)
    leased.settle(one.record(entry("acme", 120)))
    assert terms(leased) == (100, 0, 30, 120)
    leased.set_limit("acme", 150)

    leased.ask(one, want("acme", 5))

    assert terms(leased) == (150, 15, 0, 120)


def test_returned_units_count_once_whatever_comes_late(leased: Leased, one: Sidecar) -> None:
    id_ = lease_of(leased, one, 30)
    early, late = one.give_back(id_, 5), one.give_back(id_, 5)

    for returned in (late, early, late):
        leased.post(returns=[(one.id, returned)])
    leased.post(returns=[(one.id, [Returned(id_, 999, 30)]), (one.id, [Returned(4711, 5, 5)])])

    assert terms(leased)[1] == 100
    # What is not there cannot be returned, and not by others.
    other = lease_of(leased, one, 30)
    leased.post(returns=[(("sc-2", "e1"), [Returned(other, 60, 60)])])
    assert terms(leased)[1] == 70


def test_sizes_shrink_with_what_is_available_down_to_the_last_unit(
    leased: Leased, one: Sidecar, two: Sidecar
) -> None:
    def ask(sidecar: Sidecar, units_min: int) -> int:
        answer = leased.ask(sidecar, want("acme", units_min, 1000))
        assert isinstance(answer, Granted)
        before = sum(held.granted for held in sidecar.held.values())
        sidecar.learn(answer.leases)
        return sum(held.granted for held in sidecar.held.values()) - before

    assert ask(one, 1) == 50
    assert ask(two, 1) == 12
    assert ask(two, 20) == 20
    # 18 are left; the tail is given unit by unit.
    assert [ask(one, 0) for _ in range(8)] == [4, 3, 2, 2, 1, 1, 1, 1]
    assert [ask(one, 0) for _ in range(4)] == [1, 1, 1, 0]
    assert terms(leased)[1] == 0


def test_all_wants_or_none(leased: Leased, one: Sidecar) -> None:
    answer = leased.ask(one, Want(MONTH, 30, 30, 100), Want(DAY, 21, 21, 100))

    assert isinstance(answer, Short)
    assert [(s.pool, s.available, s.limit) for s in answer.shortages] == [(DAY, 20, 100)]
    assert terms(leased, MONTH)[1] == 60


def test_windows_are_the_current_one_and_in_its_last_seconds_the_next(
    leased: Leased, one: Sidecar
) -> None:
    tomorrow = DAY._replace(window_start_ms=DAY_START_MS + DAY_MS)
    yesterday = DAY._replace(window_start_ms=DAY_START_MS - DAY_MS)
    for key in (tomorrow, yesterday):
        answer = leased.ask(one, Want(key, 1, 1, 100))
        assert isinstance(answer, Short)
        assert not answer.shortages[0].is_leased
    leased.now_ms = DAY_START_MS + DAY_MS - 3_000

    id_, units = next(iter(granted(leased.ask(one, Want(tomorrow, 4, 4, 100))).items()))
    assert units == 4
    leased.now_ms += 5_000
    used = entry("acme", 3, leased.now_ms, feature="jobs")
    leased.settle(record(one.id, 1, used, draws=(Draw(id_, 3),)))

    assert terms(leased, tomorrow) == (20, 16, 0, 3)


@pytest.mark.parametrize(
    "key",
    [
        calls_of("nobody"),
        calls_of("acme")._replace(feature="nothing"),
        calls_of("acme")._replace(limit_id="nothing"),
        calls_of("acme")._replace(resource="ws-9"),
        PoolKey("acme", "", "soft", "month", MONTH_START_MS),
    ],
)
def test_what_is_no_hard_limit_is_not_leased(leased: Leased, one: Sidecar, key: PoolKey) -> None:
    answer = leased.ask(one, Want(key, 0, 10, 100))

    assert isinstance(answer, Short)
    assert not answer.shortages[0].is_leased
