"""Sidecars that stay away: their units count as spent, or go to others, as the feature says."""

from __future__ import annotations

import pytest
from leased import CATALOG, NOW_MS, TERMS, Leased, Sidecar, entry, lease_of, terms, want
from sqlalchemy import text

from control_plane import provisioning
from control_plane.granting.work import Granted
from control_plane.leasing.holds import HoldKey, HoldStep
from control_plane.leasing.settling import Draw
from control_plane.metering.records import UsageRecord
from control_plane.provisioning import CatalogSource
from control_plane.storage.lease_tables import lease_hold

TTL_MS, LOST_MS = TERMS


@pytest.fixture
def releasing(leased: Leased) -> Leased:
    """Have lost leases of calls go to others."""
    document = CATALOG.replace(
        "calls: {type: metered}", "calls: {type: metered, lost_lease: release}"
    )
    with leased.database.writing() as connection:
        source = CatalogSource(document, "catalog.yaml")
        provisioning.apply_catalog(connection, leased.library, source, None, leased.now_ms)
    return leased


def stay_away(leased: Leased) -> None:
    for pause_ms in (TTL_MS, LOST_MS, 1_000):
        leased.now_ms += pause_ms
        leased.tick()


def hold(leased: Leased, sidecar: Sidecar, lease: int, units: int) -> HoldStep:
    """Hold units of a lease for a minute."""
    key = HoldKey(sidecar.name, "acme", "work")
    step = HoldStep(key, ((lease, units),), leased.now_ms + 60_000)
    leased.settle(holding(sidecar, step, Draw(lease, units)))
    sidecar.held[lease].drawn += units
    return step


def holding(sidecar: Sidecar, step: HoldStep, *draws: Draw, used: int = 0) -> UsageRecord:
    entries = [entry("acme", used, NOW_MS)] if used else []
    return sidecar.record(*entries, draws=draws)._replace(holds=(step,))


def test_released_units_go_to_others(releasing: Leased, one: Sidecar) -> None:
    id_ = lease_of(releasing, one, 60)
    first = one.spend(id_, 10, NOW_MS)
    stay_away(releasing)

    assert releasing.states() == {one.id: "presumed"}
    assert terms(releasing) == (100, 100, 0, 0)
    two = Sidecar("two", "acme")
    assert isinstance(releasing.ask(two, want("acme", 95)), Granted)
    settlement = releasing.settle(first)
    assert settlement.draws_refused == 1
    # Of what was used while others had it, the limit leaves 5.
    assert terms(releasing) == (100, 0, 5, 10)
    assert not releasing.check().differences


def test_who_comes_back_after_a_release_gets_a_lease_of_its_own(
    releasing: Leased, one: Sidecar
) -> None:
    id_ = lease_of(releasing, one, 60)
    one.spend(id_, 10, NOW_MS)
    stay_away(releasing)
    # What is left of a lease whose term ran out is given back before the hello.
    one.held[id_].returned += one.held[id_].rest

    releasing.post(claims=[one.claim()])

    assert terms(releasing) == (100, 100, 0, 0)
    granted = releasing.ask(one, want("acme", 90))
    assert isinstance(granted, Granted)
    assert granted.leases[0].id != id_
    releasing.settle(one.unsent[0])
    assert terms(releasing) == (100, 0, 0, 10)
    assert not releasing.check().differences


def test_nobody_is_lost_while_nobody_was_there_to_see_it(releasing: Leased, one: Sidecar) -> None:
    lease_of(releasing, one, 60)
    # The control plane was down for longer than that.
    releasing.now_ms += TTL_MS + LOST_MS
    releasing.tick()
    releasing.now_ms += 1_000
    releasing.tick()

    assert releasing.states() == {one.id: "suspended"}
    releasing.now_ms += LOST_MS
    releasing.tick()
    assert releasing.states() == {one.id: "presumed"}


def test_other_features_of_the_catalog_are_charged(releasing: Leased, one: Sidecar) -> None:
    jobs = want("acme", 5).pool._replace(feature="jobs", limit_id="day")
    day_ms = NOW_MS - NOW_MS % 86_400_000
    posted = releasing.ask(
        one, want("acme", 5)._replace(pool=jobs._replace(window_start_ms=day_ms))
    )
    assert isinstance(posted, Granted)
    stay_away(releasing)

    assert [held.presumed for held in releasing.leases().values()] == [5]


def test_holds_of_a_lost_sidecar_are_presumed_and_late_settlement_reverses_it(
    leased: Leased, one: Sidecar
) -> None:
    id_ = lease_of(leased, one, 60)
    step = hold(leased, one, id_, 20)
    leased.now_ms += LOST_MS
    leased.post(renewed={one.id}, is_tick=True)
    assert leased.check().units()["held"] == 20, "it is there, and ends its holds itself"

    stay_away(leased)
    sums = leased.check()
    assert not sums.differences
    assert (sums.held, sums.presumed, sums.available) == (0, 60, 40)

    closing = HoldStep(step.key, ())
    leased.settle(holding(one, closing, Draw(id_, -13), used=7))
    sums = leased.check()
    assert not sums.differences
    assert (sums.held, sums.settled, sums.presumed) == (0, 7, 53)
    assert leased.rows(lease_hold) == []
    leased.post(claims=[one.claim()])
    sums = leased.check()
    assert not sums.differences
    assert (sums.presumed, sums.outstanding) == (0, 53)


def test_holds_are_released_where_leases_are(releasing: Leased, one: Sidecar) -> None:
    id_ = lease_of(releasing, one, 60)
    step = hold(releasing, one, id_, 20)
    stay_away(releasing)

    assert releasing.rows(lease_hold) == []
    assert terms(releasing) == (100, 100, 0, 0)
    releasing.ask(Sidecar("two", "acme"), want("acme", 100))
    releasing.settle(holding(one, HoldStep(step.key, ()), used=7))
    assert terms(releasing) == (100, 0, 7, 7)
    assert not releasing.check().differences


def test_the_check_tells_presumed_holds_apart(leased: Leased, one: Sidecar) -> None:
    id_ = lease_of(leased, one, 60)
    hold(leased, one, id_, 20)
    stay_away(leased)
    with leased.database.writing() as connection:
        connection.execute(text("UPDATE lease_hold SET units = units + 1"))

    assert [each.term for each in leased.check().differences] == [
        "granted and overage",
        "available",
    ]


def test_who_is_heard_of_in_the_same_transaction_is_not_lost(
    releasing: Leased, one: Sidecar
) -> None:
    lease_of(releasing, one, 60)
    releasing.now_ms += TTL_MS
    releasing.tick()
    releasing.now_ms += LOST_MS
    releasing.post(renewed={one.id}, is_tick=True)

    assert releasing.states() == {one.id: "open"}
    assert terms(releasing)[1] == 40
