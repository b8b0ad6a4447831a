"""What the control plane tells Prometheus of webhooks and top-ups."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from control_plane.outgoing.deliverer import Survey
from control_plane.outgoing.sending import Outgoing

SECONDS_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class OutgoingMetrics:
    """Calls to others over HTTP."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.webhooks_tried = Counter(
            "weighbridge_control_plane_webhooks_tried",
            "Tries to deliver a message to a webhook endpoint, by result.",
            ["result"],
            registry=registry,
        )
        self.webhooks_dead = Counter(
            "weighbridge_control_plane_webhooks_dead",
            "Deliveries that were given up: dead letters.",
            registry=registry,
        )
        self.webhooks_pending = Gauge(
            "weighbridge_control_plane_webhooks_pending",
            "Deliveries that wait.",
            registry=registry,
        )
        self.webhooks_oldest_age = Gauge(
            "weighbridge_control_plane_webhooks_oldest_age_seconds",
            "How long the oldest delivery that waits has been waiting.",
            registry=registry,
        )
        self.webhook_seconds = Histogram(
            "weighbridge_control_plane_webhook_seconds",
            "How long tries to deliver a message took.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

        self.top_ups_asked = Counter(
            "weighbridge_control_plane_top_ups_asked",
            "Questions to the HTTP provider of top-ups, by what it answered.",
            ["result"],
            registry=registry,
        )
        self.thresholds_reached = Counter(
            "weighbridge_control_plane_thresholds_reached",
            "Limits of which usage reached a part that others are told of.",
            registry=registry,
        )

    def connect(self, outgoing: Outgoing) -> None:
        """Have it say what it does."""
        outgoing.deliverer.on_tried = self.count_try
        outgoing.deliverer.on_dead = self.webhooks_dead.inc
        outgoing.deliverer.on_surveyed = self.observe
        if outgoing.asker is not None:
            outgoing.asker.on_asked = lambda result: self.top_ups_asked.labels(result).inc()

    def count_try(self, result: str, seconds: float) -> None:
        """Count a try that ended."""
        self.webhooks_tried.labels(result).inc()
        self.webhook_seconds.observe(seconds)

    def observe(self, survey: Survey) -> None:
        """Take in what waits."""
        self.webhooks_pending.set(survey.pending)
        self.webhooks_oldest_age.set(survey.oldest_age_s)
