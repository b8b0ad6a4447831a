"""The check names what does not add up, whichever table was altered by a unit."""

from __future__ import annotations

import pytest
from leased import TERMS, Leased, Sidecar, entry, want
from sqlalchemy import text


def test_every_term_is_summed(leased: Leased) -> None:
    sidecars = [Sidecar(f"sc-{n}", "acme") for n in range(3)]
    for sidecar in sidecars:
        sidecar.learn(leased.ask(sidecar, want("acme", 10)).leases)  # type: ignore[union-attr]
    away, lost, there = sidecars
    for pause_ms in (TERMS.ttl_ms, TERMS.lost_after_ms):
        leased.now_ms += pause_ms
        leased.post(renewed={there.id, away.id}, is_tick=True)
    leased.now_ms += TERMS.ttl_ms
    leased.post(renewed={there.id}, is_tick=True)
    leased.settle(there.spend(next(iter(there.held)), 4, leased.now_ms))
    leased.settle(lost.record(entry("acme", 80, leased.now_ms)))

    sums = leased.check()

    assert not sums.differences
    assert sums.units() == {
        "granted": 100,
        "available": 0,
        "outstanding": 6,
        "suspended": 10,
        "held": 0,
        "settled": 84,
        "presumed": 10,
        "overage": 10,
    }
    assert leased.states()[lost.id] == "presumed"
    assert sums.pools == 1


ALTERATIONS = [
    ("lease_pool", "available = available + 1"),
    ("lease_pool", "overage = overage + 1"),
    ("lease_pool", "granted_limit = granted_limit + 1"),
    ("lease_pool", "settled = settled + 1"),
    ("lease_pool", "limit_units = limit_units - 1"),
    ("lease", "granted = granted + 1"),
    ("lease", "returned = returned + 1"),
    ("lease", "drawn = drawn + 1"),
    ("usage_total", "total = total + 1"),
    ("lease_holder", "state = 'closed'"),
]


@pytest.mark.parametrize(("table", "change"), ALTERATIONS)
def test_a_unit_more_anywhere_is_named(leased: Leased, table: str, change: str) -> None:
    sidecar = Sidecar("sc-1", "acme")
    sidecar.learn(leased.ask(sidecar, want("acme", 10)).leases)  # type: ignore[union-attr]
    leased.settle(sidecar.spend(next(iter(sidecar.held)), 4, leased.now_ms))
    assert not leased.check().differences

    with leased.database.writing() as connection:
        connection.execute(text(f"UPDATE {table} SET {change}"))

    found = leased.check().differences
    assert found
    assert {each.pool for each in found} == {"acme, calls, limit lifetime from 0"}
    assert "acme" in str(found[0])


def test_a_lease_that_is_gone_is_named(leased: Leased) -> None:
    leased.ask(Sidecar("sc-1", "acme"), want("acme", 10))
    leased.ask(Sidecar("sc-2", "acme"), want("acme", 7))

    with leased.database.writing() as connection:
        connection.execute(text("DELETE FROM lease WHERE sidecar_id = 'sc-2'"))

    terms = {(each.term, each.expected, each.found) for each in leased.check().differences}
    assert terms == {("granted and overage", 93, 100), ("available", 90, 83)}


def test_events_that_are_gone_are_named_where_there_is_no_total(leased: Leased) -> None:
    sidecar = Sidecar("sc-1", "acme")
    leased.ask(sidecar, want("acme", 1))
    leased.settle(sidecar.record(entry("acme", 5, leased.now_ms)))
    with leased.database.writing() as connection:
        connection.execute(text("DELETE FROM usage_total"))
    assert not leased.check().differences

    with leased.database.writing() as connection:
        connection.execute(text("DELETE FROM usage_event"))

    assert [each.term for each in leased.check().differences] == ["settled, of events"]


def test_pools_are_checked_page_by_page(leased: Leased, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.leasing.conservation.POOLS_PER_PAGE", 2)
    for number in range(5):
        leased.create(f"c-{number}")
        leased.ask(Sidecar("sc-1", "acme"), want(f"c-{number}", 1))

    sums = leased.check()

    assert (sums.pools, sums.granted, sums.outstanding) == (5, 500, 5)
