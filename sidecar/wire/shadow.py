"""What drafts would have answered, as it is told."""

from __future__ import annotations

from sidecar.core.shadow import Draft
from sidecar.wire.decision import REASONS
from weighbridge.rules.decision import Reason
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb


def report_to_proto(draft: Draft, customers_max: int) -> sidecar_pb.ShadowReport:
    """Return the report of a draft, features in order."""
    counted = sorted(draft.decisions.items(), key=lambda item: (item[0].feature, -item[1]))
    return sidecar_pb.ShadowReport(
        catalog=draft.compiler.catalog.id,
        number=draft.number,
        since_unix_ms=draft.since_ms,
        outcomes=[
            sidecar_pb.ShadowOutcome(
                feature=compared.feature,
                live=_reason_to_proto(compared.live),
                draft=_reason_to_proto(compared.draft),
                calls=calls,
            )
            for compared, calls in counted
        ],
        customers=[
            sidecar_pb.ShadowCustomer(
                customer=customer,
                newly_refused=differing.newly_refused,
                newly_allowed=differing.newly_allowed,
            )
            for customer, differing in draft.most_differing(customers_max)
        ],
        calls_of_other_customers=draft.differing_uncounted,
    )


def _reason_to_proto(reason: Reason | None) -> pb.Reason.ValueType:
    return pb.REASON_UNSPECIFIED if reason is None else REASONS[reason]
