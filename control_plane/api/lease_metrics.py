"""What the control plane tells Prometheus of leases."""

from __future__ import annotations

from collections import Counter as Tallied
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from control_plane.granting.desk import LeaseDesk
from control_plane.granting.work import LeasesPosted
from control_plane.leasing.accounts import HolderState
from control_plane.leasing.conservation import PoolSums

_PREFIX: Final = "weighbridge_control_plane_lease"


class LeaseMetrics:
    """Counters of what the desk does, and gauges of what the last check found."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", meaning, registry=registry)

        self.grants = counter("grants", "Lease requests that were granted.")
        self.units_granted = counter("units_granted", "Units granted in leases.")
        self.refusals = counter("refusals", "Lease requests that were refused.")
        self.recalls = counter("recalls", "Leases that sidecars were asked to give back.")
        self.draws_refused = counter(
            "draws_refused",
            "Draws of usage records that no lease has; their usage settled all the same.",
        )
        self.waiting = Gauge(
            f"{_PREFIX}_requests_waiting", "Lease requests not answered so far.", registry=registry
        )
        self.pools = Gauge(
            f"{_PREFIX}_pools", "Pools there are, at the last check.", registry=registry
        )
        self.units = Gauge(
            f"{_PREFIX}_units",
            "Units of all pools by term, at the last check.",
            ["term"],
            registry=registry,
        )
        self.holders = Gauge(
            f"{_PREFIX}_holders",
            "Epochs of sidecars that have leases, by state, at the last check.",
            ["state"],
            registry=registry,
        )
        self.differences = Gauge(
            f"{_PREFIX}_differences",
            "What did not add up at the last check: units made or lost.",
            registry=registry,
        )

    def count(self, desk: LeaseDesk, posted: LeasesPosted) -> None:
        """Count what one transaction did."""
        done = desk.take_counts()
        self.grants.inc(done.grants)
        self.refusals.inc(done.refusals)
        self.recalls.inc(done.recalls)
        self.units_granted.inc(posted.units_granted)
        self.waiting.set(len(desk))

    def observe(self, sums: PoolSums, holders: Tallied[str]) -> None:
        """Show what a check found."""
        self.pools.set(sums.pools)
        self.differences.set(len(sums.differences))
        for term, units in sums.units().items():
            self.units.labels(term).set(units)
        for state in HolderState:
            self.holders.labels(state.value).set(holders[state.value])
