"""Gathers the sidecar's metrics when Prometheus asks.

The scrape runs on another thread than the gate: it reads plain integers and copies of dicts, and
never waits for the owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from sidecar.core.asking import LeaseAsking
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.journal import Journal
from sidecar.service.watching import Watchers
from sidecar.transport.reference import LATENCY_BOUNDS_S, Latencies
from sidecar.transport.seam import Method, Seam
from sidecar.transport.waiting import WaitingCalls
from sidecar.uplink.applying import Applier
from sidecar.uplink.sending import UsageSending
from sidecar.uplink.session import Session
from weighbridge.rules.decision import Reason

PREFIX = "weighbridge_sidecar_"

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily


class Sources(NamedTuple):
    """Where the figures are."""

    gate: Gate
    seam: Seam
    waiting: WaitingCalls
    asking: LeaseAsking
    watchers: Watchers
    journal: Journal
    applier: Applier
    sending: UsageSending
    session: Session
    latencies: Mapping[Method, Latencies]
    about: Mapping[str, str]
    moment: Callable[[], Moment]


class SidecarCollector(Collector):
    """Yields every metric of the sidecar."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        """Gather everything once."""
        about = dict(self._sources.about)
        yield InfoMetricFamily(PREFIX.rstrip("_"), "What this sidecar is.", value=about)
        yield from self._decisions()
        yield self._shadow()
        yield from self._latencies()
        yield from self._gauges()
        yield from self._counters()

    def _decisions(self) -> Iterator[Family]:
        sources = self._sources
        decisions = CounterMetricFamily(
            PREFIX + "decisions",
            "Decisions given, by feature (empty where unknown), reason and what decided.",
            labels=("feature", "reason", "decided_by"),
        )
        for (feature, reason, decided_by), count in dict(sources.gate.decisions).items():
            decisions.add_metric((feature, _outcome(reason), decided_by.value), count)
        yield decisions
        observed = CounterMetricFamily(
            PREFIX + "observed_refusals",
            "Decisions allowed only because their feature is observed, by feature and the reason "
            "they would have been refused for.",
            labels=("feature", "reason"),
        )
        for (feature, would_be), count in dict(sources.gate.observed_refusals).items():
            observed.add_metric((feature, would_be.value), count)
        yield observed
        calls = CounterMetricFamily(
            PREFIX + "calls", "Calls answered, by method and status.", labels=("method", "status")
        )
        for (method, status), count in dict(sources.seam.calls).items():
            calls.add_metric((method.value, status), count)
        yield calls

    def _shadow(self) -> Family:
        decisions = CounterMetricFamily(
            "weighbridge_shadow_decisions",
            "Decisions made a second time by a draft catalog, without effect: by the live outcome "
            "and what the draft's would have been.",
            labels=("catalog", "feature", "live", "draft"),
        )
        shadow = self._sources.gate.shadow
        for draft in () if shadow is None else shadow.drafts():
            catalog = draft.compiler.catalog.id
            for (feature, live, would_be), count in dict(draft.decisions).items():
                labels = (catalog, feature, _outcome(live), _outcome(would_be))
                decisions.add_metric(labels, count)
        return decisions

    def _latencies(self) -> Iterator[Family]:
        seconds = HistogramMetricFamily(
            PREFIX + "call_seconds", "Time from a call's arrival to its answer.", labels=("method",)
        )
        for method, latencies in self._sources.latencies.items():
            counts = list(latencies.counts)
            buckets: list[tuple[str, float]] = []
            seen = 0
            for bound_s, count in zip((*LATENCY_BOUNDS_S, float("inf")), counts, strict=True):
                seen += count
                buckets.append(("+Inf" if bound_s == float("inf") else str(bound_s), seen))
            seconds.add_metric((method.value,), buckets, latencies.sum_s)
        yield seconds

    def _gauges(self) -> Iterator[Family]:
        sources = self._sources
        moment = sources.moment()
        age_ms = sources.gate.link.snapshot_age_ms(moment.boot_ms)
        values: dict[str, tuple[str, float]] = {
            "customers": ("Customers held.", len(sources.gate.cache)),
            "connected": (
                "Whether the control plane confirms what is held (1) or not (0).",
                float(sources.gate.link.is_connected),
            ),
            "outage": (
                "Whether outage policies decide (1) or not (0).",
                float(sources.gate.link.is_outage(moment.boot_ms)),
            ),
            "snapshot_age_seconds": (
                "Time since what is held was last confirmed; -1 where it never was.",
                -1.0 if age_ms is None else age_ms / 1000,
            ),
            "journal_bytes": ("Size of the journal on disk.", sources.journal.bytes_used),
            "journal_unsettled_records": (
                "Records the control plane has not settled.",
                sources.journal.unsettled_records,
            ),
            "journal_problems": (
                "Corrupt records or files found and set aside at the start.",
                len(sources.journal.problems),
            ),
            "idempotency_keys": ("Idempotency keys held.", len(sources.gate.keys)),
            "waiting_calls": (
                "Calls that wait for their customer, or for units.",
                len(sources.waiting),
            ),
            "leases": ("Leases held.", len(sources.gate.leases)),
            "rate_shares": (
                "Shares of rates held.",
                sum(1 for _ in sources.gate.rate_shares.held()),
            ),
            "watches": ("Open watches.", len(sources.watchers)),
        }
        for name, (text, value) in values.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=value)

    def _counters(self) -> Iterator[Family]:
        sources = self._sources
        values: dict[str, tuple[str, float]] = {
            "batches": ("Batches of calls decided together.", sources.seam.batches),
            "calls_waited_for_customers": (
                "Calls that had to wait until their customer was loaded.",
                sources.waiting.waited_for_customers,
            ),
            "calls_waited_for_units": (
                "Calls that had to wait until units were leased.",
                sources.waiting.waited_for_units,
            ),
            "lease_requests": ("Requests for units sent.", sources.asking.requests),
            "rate_asks": ("Shares of rates asked for.", sources.gate.rate_shares.asks),
            "lease_refusals": (
                "Limits of which the control plane had no more to lease.",
                sources.asking.refusals,
            ),
            "snapshots_applied": ("Snapshots applied.", sources.applier.applied),
            "snapshots_nacked": ("Snapshots that could not be applied.", sources.applier.nacked),
            "usage_records_sent": ("Usage records sent.", sources.sending.sent_records),
            "usage_records_set_aside": (
                "Usage records the control plane refused for good.",
                sources.session.set_aside_records,
            ),
        }
        for name, (text, value) in values.items():
            yield CounterMetricFamily(PREFIX + name, text, value=value)


def _outcome(reason: Reason | None) -> str:
    return "allowed" if reason is None else reason.value
