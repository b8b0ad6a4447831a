"""Open holds: drawn from leases, used by nobody, and the pool's again when they end."""

from __future__ import annotations

from leased import NOW_MS, Leased, Sidecar, calls_of, entry, granted, want
from sqlalchemy import text

from control_plane.leasing.holds import HoldKey, HoldStep
from control_plane.leasing.settling import Draw
from control_plane.metering.records import UsageKind, UsageRecord


def hold(units: dict[int, int], name: str = "r-1", sidecar: str = "sc-1") -> HoldStep:
    return HoldStep(HoldKey(sidecar, "acme", name), tuple(units.items()), NOW_MS + 60_000)


def opened(sidecar: Sidecar, *steps: HoldStep, draws: dict[int, int]) -> UsageRecord:
    made = sidecar.record(draws=[Draw(id_, units) for id_, units in draws.items()])
    return made._replace(holds=steps)


def units(leased: Leased) -> dict[str, int]:
    sums = leased.check()
    assert not sums.differences, sums.differences
    return {term: count for term, count in sums.units().items() if count and term != "granted"}


def leasing(leased: Leased, least: int = 30) -> tuple[Sidecar, int]:
    sidecar = Sidecar("sc-1", "acme")
    answer = leased.ask(sidecar, want("acme", least))
    return sidecar, next(iter(granted(answer)))


def test_what_is_held_is_nobodys_until_it_is_settled(leased: Leased) -> None:
    sidecar, id_ = leasing(leased)
    leased.settle(opened(sidecar, hold({id_: 20}), draws={id_: 20}))
    assert units(leased) == {"available": 70, "outstanding": 10, "held": 20}

    used = sidecar.record(entry("acme", 8, kind=UsageKind.SETTLE), draws=[Draw(id_, -12)])._replace(
        holds=(hold({}),)
    )
    leased.settle(used)

    assert units(leased) == {"available": 70, "outstanding": 22, "settled": 8}


def test_a_hold_is_extended_and_written_again(leased: Leased) -> None:
    sidecar, id_ = leasing(leased)
    leased.settle(opened(sidecar, hold({id_: 20}), draws={id_: 20}))
    leased.settle(
        opened(sidecar, hold({id_: 25}), draws={id_: 5}), opened(sidecar, hold({id_: 25}), draws={})
    )
    assert units(leased) == {"available": 70, "outstanding": 5, "held": 25}


def test_a_hold_outlives_its_lease_and_goes_back_to_the_pool(leased: Leased) -> None:
    sidecar, id_ = leasing(leased)
    leased.settle(opened(sidecar, hold({id_: 20}), draws={id_: 20}))
    sidecar.restart()
    leased.post(claims=[sidecar.claim()])
    assert units(leased) == {"available": 80, "held": 20}

    settlement = leased.settle(
        sidecar.record(entry("acme", 8, kind=UsageKind.SETTLE))._replace(holds=(hold({}),))
    )

    assert units(leased) == {"available": 92, "settled": 8}
    assert settlement.gains == [(calls_of("acme"), 92)]


def test_a_hold_that_expired_costs_nothing(leased: Leased) -> None:
    sidecar, id_ = leasing(leased)
    steps = (hold({id_: 20}), hold({id_: 4}, "r-2"))
    leased.settle(opened(sidecar, *steps, draws={id_: 24}))

    leased.settle(opened(sidecar, hold({}), draws={id_: -20}))

    assert units(leased) == {"available": 70, "outstanding": 26, "held": 4}


def test_more_than_was_held_is_taken_from_the_pool(leased: Leased) -> None:
    sidecar, id_ = leasing(leased)
    leased.settle(opened(sidecar, hold({id_: 20}), draws={id_: 20}))

    leased.settle(
        sidecar.record(entry("acme", 25, kind=UsageKind.SETTLE))._replace(holds=(hold({}),))
    )

    assert units(leased) == {"available": 65, "outstanding": 10, "settled": 25}


def test_holds_of_leases_that_are_not_known_hold_nothing(leased: Leased) -> None:
    sidecar, id_ = leasing(leased)
    stranger = Sidecar("sc-2", "acme")

    leased.settle(
        opened(sidecar, hold({77: 5}), draws={}),
        opened(stranger, hold({id_: 5}, sidecar="sc-2"), draws={}),
    )

    assert units(leased) == {"available": 70, "outstanding": 30}


def test_a_held_unit_more_is_named(leased: Leased) -> None:
    sidecar, id_ = leasing(leased)
    leased.settle(opened(sidecar, hold({id_: 20}), draws={id_: 20}))
    with leased.database.writing() as connection:
        connection.execute(text("UPDATE lease_hold SET units = units + 1"))

    assert leased.check().differences
