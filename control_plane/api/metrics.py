"""What the control plane tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from control_plane.api.authentication import (
    ADMIN_SERVICE,
    BILLING_SERVICE,
    CREDIT_SERVICE,
    INTEGRATION_SERVICE,
    USAGE_SERVICE,
    WEBHOOK_SERVICE,
)
from control_plane.api.lease_metrics import LeaseMetrics
from control_plane.api.outgoing_metrics import OutgoingMetrics
from control_plane.metering.ingest import Settlement

# Group commits take a few milliseconds; a catalog for many customers may take a second.
SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10)

_ADMINISTRATION: Final = frozenset(
    {
        ADMIN_SERVICE,
        CREDIT_SERVICE,
        BILLING_SERVICE,
        INTEGRATION_SERVICE,
        USAGE_SERVICE,
        WEBHOOK_SERVICE,
    }
)
_SNAPSHOT_KINDS: Final = {
    "Catalog": "catalog",
    "WholeCustomer": "customer",
    "Revoked": "revoked",
    "Unknown": "unknown",
    "Totals": "totals",
}


class ControlPlaneMetrics:
    """The process's counters. Each may be moved by any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.leases = LeaseMetrics(registry)
        self.outgoing = OutgoingMetrics(registry)
        self._count_parts(registry)
        self.sidecars_connected = Gauge(
            "weighbridge_control_plane_sidecars_connected",
            "Sidecars with an open stream.",
            registry=registry,
        )
        self.usage_records_settled = Counter(
            "weighbridge_control_plane_usage_records_settled",
            "Usage records settled.",
            registry=registry,
        )
        self.usage_events_settled = Counter(
            "weighbridge_control_plane_usage_events_settled",
            "Usage events settled.",
            registry=registry,
        )
        self.usage_set_aside = Counter(
            "weighbridge_control_plane_usage_set_aside",
            "Usage kept aside because it could not be applied, by reason.",
            ["reason"],
            registry=registry,
        )
        self.customers_unprovisioned = Counter(
            "weighbridge_control_plane_customers_unprovisioned",
            "Customers made because usage of them was settled, on the default plan.",
            registry=registry,
        )
        self.allocations_overdrawn = Gauge(
            "weighbridge_control_plane_allocations_overdrawn",
            "Allocations of which more was released than acquired.",
            registry=registry,
        )
        self.snapshots_pushed = Counter(
            "weighbridge_control_plane_snapshots_pushed",
            "Snapshots and parts of them sent to sidecars, by kind.",
            ["kind"],
            registry=registry,
        )
        self.nacks = Counter(
            "weighbridge_control_plane_nacks",
            "Snapshots that a sidecar could not apply.",
            registry=registry,
        )
        self.admin_calls = Counter(
            "weighbridge_control_plane_admin_calls",
            "Administration calls, by method and status code.",
            ["method", "code"],
            registry=registry,
        )
        self.database_seconds = Histogram(
            "weighbridge_control_plane_database_seconds",
            "How long transactions took, by purpose.",
            ["purpose"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def _count_exports(self, registry: CollectorRegistry) -> None:
        self.http_requests = Counter(
            "weighbridge_control_plane_http_requests",
            "HTTP requests by path and status.",
            ["path", "status"],
            registry=registry,
        )
        self.export_items = Counter(
            "weighbridge_control_plane_export_items",
            "Items sent to other systems, and not sent: to be tried again, or put aside.",
            ["exporter", "outcome"],
            registry=registry,
        )

        self.import_events = Counter(
            "weighbridge_control_plane_import_events",
            "Events that other systems sent: applied, ignored, set_aside, repeated, refused.",
            ["source", "outcome"],
            registry=registry,
        )

    def _count_parts(self, registry: CollectorRegistry) -> None:
        self._count_ledgers(registry)
        self._count_shares(registry)
        self._count_exports(registry)

    def _count_shares(self, registry: CollectorRegistry) -> None:
        self.rates_shared = Gauge(
            "weighbridge_control_plane_rates_shared",
            "Rates that sidecars have or want shares of, or that are not full.",
            registry=registry,
        )
        self.rate_shares = Gauge(
            "weighbridge_control_plane_rate_shares",
            "Shares of rates that sidecars have or want.",
            registry=registry,
        )

    def _count_ledgers(self, registry: CollectorRegistry) -> None:
        self.ledgers_checked = Counter(
            "weighbridge_control_plane_ledgers_checked",
            "Times that a credit ledger was checked for conservation.",
            registry=registry,
        )
        self.ledgers_broken = Gauge(
            "weighbridge_control_plane_ledgers_broken",
            "Credit ledgers whose terms did not add up when they were last checked.",
            registry=registry,
        )

    def observe_call(self, method: str, code: grpc.StatusCode) -> None:
        """Count an administration call; the path is `/service/method`."""
        service, _, name = method.strip("/").partition("/")
        if service in _ADMINISTRATION:
            self.admin_calls.labels(name, code.name).inc()

    def observe_http(self, path: str, status: int) -> None:
        """Count an HTTP request; the path is the route's."""
        self.http_requests.labels(path, str(status)).inc()

    def observe_database(self, purpose: str, seconds: float) -> None:
        """Time a transaction."""
        self.database_seconds.labels(purpose).observe(seconds)

    def count_export(self, exporter: str, sent: int, failed: int) -> None:
        """Count what a run of an exporter did."""
        self.export_items.labels(exporter, "sent").inc(sent)
        self.export_items.labels(exporter, "not_sent").inc(failed)

    def count_import(self, source: str, outcome: str) -> None:
        """Count an event that another system sent."""
        self.import_events.labels(source, outcome).inc()

    def count_settlement(self, settlement: Settlement) -> None:
        """Count what a transaction settled."""
        self.usage_records_settled.inc(settlement.records)
        self.usage_events_settled.inc(settlement.events)
        self.leases.draws_refused.inc(settlement.draws_refused)
        for reason, count in settlement.set_aside.items():
            self.usage_set_aside.labels(reason.value).inc(count)
        self.customers_unprovisioned.inc(len(settlement.customers_created))
        if settlement.overdrawn_total is not None:
            self.allocations_overdrawn.set(settlement.overdrawn_total)

    def count_snapshot(self, kind: str) -> None:
        """Count something sent to a sidecar."""
        if kind in _SNAPSHOT_KINDS:
            self.snapshots_pushed.labels(_SNAPSHOT_KINDS[kind]).inc()

    def count_broken_ledgers(self, count: Callable[[], int]) -> None:
        """Ask `count` at each scrape how many credit ledgers do not add up."""
        self.ledgers_broken.set_function(count)

    def count_sidecars(self, count: Callable[[], int]) -> None:
        """Ask `count` at each scrape how many sidecars are connected."""
        self.sidecars_connected.set_function(count)

    def count_rates(self, rates: Callable[[], int], shares: Callable[[], int]) -> None:
        """Ask at each scrape how many rates are shared out, and in how many shares."""
        self.rates_shared.set_function(rates)
        self.rate_shares.set_function(shares)
