"""Explanations ⇄ protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.metering.explaining import Explained, LimitingState
from control_plane.wire.entitlements import entitlement_to_proto, limit_to_proto, rate_to_proto
from control_plane.wire.enums import ENFORCEMENTS, FEATURE_TYPES
from control_plane.wire.snapshots import override_to_proto, subscription_to_proto
from weighbridge.rules.catalog import Entitlement
from weighbridge.rules.decision import Reason
from weighbridge.rules.explanation import Step, StepKind, Timing, VersionChoice
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import types_pb2

REASONS: Final[Mapping[Reason | None, types_pb2.Reason.ValueType]] = {
    None: types_pb2.REASON_UNSPECIFIED,
    **{reason: types_pb2.Reason.Value(f"REASON_{reason.name}") for reason in Reason},
}
KINDS: Final[Mapping[StepKind, pb.ExplanationStepKind.ValueType]] = {
    kind: pb.ExplanationStepKind.Value(f"EXPLANATION_STEP_KIND_{kind.name}") for kind in StepKind
}
CHOICES: Final[Mapping[VersionChoice | None, pb.VersionChoice.ValueType]] = {
    None: pb.VERSION_CHOICE_UNSPECIFIED,
    **{choice: pb.VersionChoice.Value(f"VERSION_CHOICE_{choice.name}") for choice in VersionChoice},
}
TIMINGS: Final[Mapping[Timing | None, pb.OverrideTiming.ValueType]] = {
    None: pb.OVERRIDE_TIMING_UNSPECIFIED,
    **{timing: pb.OverrideTiming.Value(f"OVERRIDE_TIMING_{timing.name}") for timing in Timing},
}


def explained_to_proto(explained: Explained) -> pb.ExplainEntitlementResponse:
    question, explanation = explained.question, explained.explanation
    feature = explained.feature
    return pb.ExplainEntitlementResponse(
        customer=question.customer,
        resource=question.resource,
        feature=feature.id,
        at_unix_ms=question.at_ms,
        catalog=explained.catalog.id,
        catalog_version=explained.catalog.version,
        type=FEATURE_TYPES[feature.type],
        unit=feature.unit,
        enforcement=ENFORCEMENTS[feature.enforcement],
        steps=[_step_to_proto(step) for step in explanation.steps],
        reason=REASONS[explanation.reason],
        limited_by=explanation.limited_by,
        entitlement=_optional(explanation.bounds.entitlement),
        limits=[_limit_to_proto(limit) for limit in explained.limits],
        rates=[
            pb.BoundingRate(rate=rate_to_proto(rate), limited_by=limited_by)
            for rate, limited_by in explained.rates
        ],
        changes_at_unix_ms=explanation.grant.changes_at_ms,
    )


def _step_to_proto(step: Step) -> pb.ExplanationStep:
    subscription, override = step.subscription, step.override
    return pb.ExplanationStep(
        kind=KINDS[step.kind],
        customer=step.customer,
        entitlement=_optional(step.entitlement),
        reason=REASONS[step.reason],
        subscription=None if subscription is None else subscription_to_proto(subscription),
        plan_version=step.plan_version,
        version_choice=CHOICES[step.choice],
        changes_at_unix_ms=step.changes_at_ms,
        add_on=step.add_on,
        quantity=step.quantity,
        override=None if override is None else override_to_proto(override),
        timing=TIMINGS[step.timing],
        ancestor=step.ancestor,
    )


def _limit_to_proto(limiting: LimitingState) -> types_pb2.LimitUsage:
    state = limiting.state
    message = types_pb2.LimitUsage(
        limit=limit_to_proto(state.limit), used=state.used, limited_by=limiting.limited_by
    )
    if state.limit.limit is not None:
        message.remaining = max(state.limit.limit - state.used, 0)
    if state.bounds is not None:
        message.window_start_unix_ms = state.bounds.start_ms
        if state.bounds.end_ms is not None:
            message.window_end_unix_ms = state.bounds.end_ms
    return message


def _optional(entitlement: Entitlement | None) -> types_pb2.Entitlement | None:
    return None if entitlement is None else entitlement_to_proto(entitlement)
