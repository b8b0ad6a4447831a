"""Pools of ended windows go, and leases and epochs that ended; what is presumed spent stays."""

from __future__ import annotations

from leased import DAY_MS, NOW_MS, Leased, Sidecar, entry, record, want
from test_lease_posting import DAY

from control_plane.granting.work import Granted, Want
from control_plane.leasing.retention import prune_leases
from control_plane.leasing.settling import Draw
from control_plane.storage.lease_tables import lease_pool


def prune(leased: Leased) -> int:
    with leased.database.writing() as connection:
        return prune_leases(connection, leased.now_ms)


def test_pools_of_ended_windows_go_and_late_usage_still_settles(leased: Leased) -> None:
    sidecar = Sidecar("sc-1", "acme")
    answer = leased.ask(sidecar, Want(DAY, 5, 5, 20))
    assert isinstance(answer, Granted)
    leased.now_ms = DAY.window_start_ms + 3 * DAY_MS - 1
    assert prune(leased) == 0
    leased.now_ms += 1

    assert prune(leased) == 3
    assert (leased.leases(), leased.rows(lease_pool), leased.states()) == ({}, [], {})
    late = entry("acme", 5, NOW_MS, feature="jobs")
    settlement = leased.settle(record(sidecar.id, 1, late, draws=(Draw(answer.leases[0].id, 5),)))
    assert (settlement.events, settlement.draws_refused) == (1, 1)


def test_leases_and_epochs_that_ended_go_after_a_while(leased: Leased) -> None:
    clean, lossy = Sidecar("sc-1", "acme"), Sidecar("sc-2", "acme")
    for sidecar in (clean, lossy):
        leased.ask(sidecar, want("acme", 10))
        sidecar.restart()
        leased.post(claims=[sidecar.claim(may_have_lost=sidecar is lossy)])
    assert prune(leased) == 0
    leased.now_ms += 2 * DAY_MS

    assert prune(leased) == 2

    assert [row.presumed for row in leased.leases().values()] == [10]
    assert not leased.check().differences
