"""Single figures from the metrics of a process under load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from bench.failure import BenchError
from bench.processes import probe

UNSETTLED_METRIC: Final = "weighbridge_sidecar_journal_unsettled_records"
WAITED_METRIC: Final = "weighbridge_sidecar_calls_waited_for_units_total"
REQUESTS_METRIC: Final = "weighbridge_sidecar_lease_requests_total"
CALLS_METRIC: Final = "weighbridge_sidecar_calls_total"
GRANTS_METRIC: Final = "weighbridge_control_plane_lease_grants_total"
RECALLS_METRIC: Final = "weighbridge_control_plane_lease_recalls_total"
REFUSALS_METRIC: Final = "weighbridge_control_plane_lease_refusals_total"


def sample_of(port: int, name: str, labels: Mapping[str, str] | None = None) -> float:
    """Return the sum of a metric's samples that have these labels; 0 where there are none."""
    status, text = probe(port, "/metrics")
    if not status:
        raise BenchError(f"the metrics on port {port} cannot be read")
    wanted = dict(labels or {})
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and wanted.items() <= sample.labels.items()
    )
