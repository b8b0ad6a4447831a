"""The check that runs beside everything: its metrics, and what it says where units are missing."""

from __future__ import annotations

from leased import Leased, Sidecar, want
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from control_plane.api.lease_metrics import LeaseMetrics
from control_plane.granting.watch import LeaseWatch


async def test_a_unit_that_is_missing_shows(leased: Leased) -> None:
    registry = CollectorRegistry()
    watch = LeaseWatch(leased.database, 30.0)
    watch.on_checked = LeaseMetrics(registry).observe

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"weighbridge_control_plane_lease_{name}", labels)

    leased.ask(Sidecar("sc-1", "acme"), want("acme", 10))
    await watch.check()
    assert watch.remarks() == []
    assert (sample("pools"), sample("differences")) == (1, 0)
    assert sample("units", term="outstanding") == 10
    assert sample("units", term="available") == 90
    assert (sample("holders", state="open"), sample("holders", state="closed")) == (1, 0)

    with leased.database.writing() as connection:
        connection.execute(text("UPDATE lease_pool SET available = available - 1"))
    await watch.check()

    assert sample("differences") == 2
    assert watch.remarks()[0].startswith(
        "leases: 2 differences in 1 pools, the first: pool 1 (acme"
    )
