"""Decisions and receipts: from values to protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.core.decided import Decided
from sidecar.core.overshoot import max_overshoot
from sidecar.core.request import Kind
from weighbridge.rules.catalog import Feature, FeatureType, LimitKind
from weighbridge.rules.credits import Tariff
from weighbridge.rules.decision import DecidedBy, LimitState, Reason, UpgradeHint, Verdict
from weighbridge.rules.moving import bounds_of_use
from weighbridge.rules.rate import RatePeriod, RateScope, RateState
from weighbridge.rules.window import Period, Window, WindowBounds, WindowKind
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

REASONS: Final[Mapping[Reason, pb.Reason.ValueType]] = {
    reason: pb.Reason.Value(f"REASON_{reason.name}") for reason in Reason
}
_DECIDED_BY: Final[Mapping[DecidedBy, pb.DecidedBy.ValueType]] = {
    by: pb.DecidedBy.Value(f"DECIDED_BY_{by.name}") for by in DecidedBy
}
_FEATURE_TYPES: Final[Mapping[FeatureType, pb.FeatureType.ValueType]] = {
    kind: pb.FeatureType.Value(f"FEATURE_TYPE_{kind.name}") for kind in FeatureType
}
_LIMIT_KINDS: Final[Mapping[LimitKind, pb.LimitKind.ValueType]] = {
    kind: pb.LimitKind.Value(f"LIMIT_KIND_{kind.name}") for kind in LimitKind
}
_WINDOW_KINDS: Final[Mapping[WindowKind, pb.WindowKind.ValueType]] = {
    kind: pb.WindowKind.Value(f"WINDOW_KIND_{kind.name}") for kind in WindowKind
}
_PERIODS: Final[Mapping[Period, pb.WindowPeriod.ValueType]] = {
    period: pb.WindowPeriod.Value(f"WINDOW_PERIOD_{period.name}") for period in Period
}
_RATE_SCOPES: Final[Mapping[RateScope, pb.RateScope.ValueType]] = {
    scope: pb.RateScope.Value(f"RATE_SCOPE_{scope.name}") for scope in RateScope
}

_RATE_PERIODS: Final[Mapping[RatePeriod, pb.RatePeriod.ValueType]] = {
    period: pb.RatePeriod.Value(f"RATE_PERIOD_{period.name}") for period in RatePeriod
}


def fill_decision(message: pb.Decision, decided: Decided) -> None:
    """Write a decision into a message, field by field: this is the hot path."""
    request, verdict = decided.request, decided.verdict
    message.feature = request.feature
    if decided.limited_by:
        message.limited_by = decided.limited_by
    message.decided_by = _DECIDED_BY[decided.decided_by]
    message.catalog_version = decided.catalog_version
    message.snapshot_version = decided.snapshot_version
    overshoot = max_overshoot(decided)
    if overshoot is not None:
        message.max_overshoot = overshoot
    if decided.tariff is not None:
        _fill_credits(message, decided, decided.tariff)
    if decided.snapshot_age_ms is not None:
        message.snapshot_age_ms = decided.snapshot_age_ms
    if verdict.allowed:
        message.allowed = True
        if decided.feature is not None and decided.feature.type is FeatureType.METERED:
            message.included_amount = request.units - verdict.overage
            message.overage_amount = verdict.overage
        _fill_observed(message, verdict)
    else:
        _fill_refusal(message, decided)
    if verdict.state is not None:
        _fill_limit(message, decided, verdict.state)
    else:
        _fill_unwindowed(message, verdict)


def receipt_to_proto(decided: Decided, epoch: str, number: int) -> sidecar_pb.Receipt:
    """Say where usage was recorded and as what."""
    receipt = sidecar_pb.Receipt()
    _fill_receipt(receipt, decided, epoch, number)
    return receipt


def _fill_receipt(message: sidecar_pb.Receipt, decided: Decided, epoch: str, number: int) -> None:
    units, overage = decided.request.units, decided.verdict.overage
    message.epoch = epoch
    message.record_number = number
    message.amount = units
    message.included_amount = units - overage
    message.overage_amount = overage
    request = decided.request
    tariff = request.tariff if request.is_priced else decided.tariff
    if tariff is not None:
        message.credits_micro = tariff.charge(units)
        message.charges.add(
            credit_type=tariff.credit_type,
            customer=tariff.payer,
            dimensions=dict(request.dimensions),
            amount=units,
            micro_per_million=tariff.micro,
            micro=message.credits_micro,
        )


def _fill_observed(message: pb.Decision, verdict: Verdict) -> None:
    if verdict.observed is not None:
        message.observed_reason = REASONS[verdict.observed]


def _fill_credits(message: pb.Decision, decided: Decided, tariff: Tariff) -> None:
    message.credit_type = tariff.credit_type
    message.credits_micro = tariff.charge(decided.request.units)
    if decided.credits_held is not None:
        message.credits_held_micro = decided.credits_held


def answer_to_bytes(decided: Decided, epoch: str, number: int) -> bytes:
    """Serialize the response to a Check, Consume or Report."""
    if decided.request.kind is Kind.CHECK:
        check = sidecar_pb.CheckResponse()
        fill_decision(check.decision, decided)
        return check.SerializeToString()
    if decided.request.kind is Kind.REPORT:
        return sidecar_pb.ReportResponse(
            receipt=receipt_to_proto(decided, epoch, number)
        ).SerializeToString()
    consume = sidecar_pb.ConsumeResponse()
    fill_decision(consume.decision, decided)
    if decided.is_recorded:
        _fill_receipt(consume.receipt, decided, epoch, number)
    return consume.SerializeToString()


def batch_answer_to_bytes(decisions: list[Decided]) -> bytes:
    """Serialize the response to a BatchCheck."""
    response = sidecar_pb.BatchCheckResponse()
    for decided in decisions:
        fill_decision(response.decisions.add(), decided)
    return response.SerializeToString()


def replayed_answer(kind: Kind, answer: bytes) -> bytes:
    """Mark the first answer to an idempotency key as given again."""
    response: sidecar_pb.ConsumeResponse | sidecar_pb.ReportResponse
    if kind is Kind.REPORT:
        response = sidecar_pb.ReportResponse.FromString(answer)
    else:
        response = sidecar_pb.ConsumeResponse.FromString(answer)
    response.replayed = True
    return response.SerializeToString()


def limit_usage_to_proto(state: LimitState, limited_by: str = "") -> pb.LimitUsage:
    """Return the state of a limit; of an ancestor's, `limited_by` names it."""
    limit = state.limit
    message = pb.LimitUsage(
        limit=pb.Limit(
            id=limit.id,
            kind=_LIMIT_KINDS[limit.kind],
            limit=limit.limit,
            window=window_to_proto(limit.window),
        ),
        used=state.used,
        limited_by=limited_by,
        reserved=state.reserved,
    )
    if state.bounds is not None:
        message.window_start_unix_ms = state.bounds.start_ms
        if state.bounds.end_ms is not None:
            message.window_end_unix_ms = state.bounds.end_ms
    if limit.limit is not None:
        message.remaining = max(limit.limit - state.used, 0)
    return message


def rate_usage_to_proto(state: RateState, limited_by: str = "") -> pb.RateUsage:
    """Return the state of a rate; of an ancestor's, `limited_by` names it."""
    rate = state.rate
    return pb.RateUsage(
        rate=pb.Rate(
            id=rate.id,
            limit=rate.limit,
            period=_RATE_PERIODS[rate.period],
            burst=rate.burst,
            scope=_RATE_SCOPES[rate.scope],
        ),
        remaining=state.remaining,
        limited_by=limited_by,
    )


def window_to_proto(window: Window) -> pb.Window:
    """Return the window."""
    if window.period is None:
        return pb.Window(kind=_WINDOW_KINDS[window.kind], length_ms=window.length_ms or 0)
    return pb.Window(
        kind=_WINDOW_KINDS[window.kind],
        period=_PERIODS[window.period],
        time_zone=window.time_zone,
    )


def period_to_proto(period: Period) -> pb.WindowPeriod.ValueType:
    """Return the period."""
    return _PERIODS[period]


def feature_type_to_proto(feature_type: FeatureType) -> pb.FeatureType.ValueType:
    """Return the feature type."""
    return _FEATURE_TYPES[feature_type]


def _fill_refusal(message: pb.Decision, decided: Decided) -> None:
    verdict = decided.verdict
    if verdict.reason is not None:
        message.reason = REASONS[verdict.reason]
    if verdict.retry_after_ms is not None:
        message.retry_after_ms = verdict.retry_after_ms
    if verdict.allowed_amount is not None:
        message.allowed_amount = verdict.allowed_amount
    for hint in decided.hints:
        message.upgrade_hints.append(_hint_to_proto(hint))


def _fill_limit(message: pb.Decision, decided: Decided, state: LimitState) -> None:
    limit, bounds, used, _, reserved = state
    now_ms = decided.now_ms
    if decided.spend is not None:
        _fill_spend(message, decided.spend, state, now_ms)
        return
    recorded = decided.request.units if decided.is_recorded else 0
    used = max(used + recorded, 0)
    message.limit_id = limit.id
    message.used = used
    if reserved:
        message.reserved = reserved
    if limit.limit is not None:
        message.limit = limit.limit
        message.remaining = max(limit.limit - used, 0)
    if bounds is None:
        if not recorded:
            return
        bounds = bounds_of_use(limit.window, now_ms)
    _fill_window(message, bounds, now_ms)


def _fill_window(message: pb.Decision, bounds: WindowBounds, now_ms: int) -> None:
    message.window_start_unix_ms = bounds.start_ms
    if bounds.end_ms is not None:
        message.window_end_unix_ms = bounds.end_ms
        message.resets_in_ms = max(bounds.end_ms - now_ms, 0)


def _fill_spend(message: pb.Decision, spend: Feature, state: LimitState, now_ms: int) -> None:
    message.limit_id = state.limit.id
    message.spend.CopyFrom(spend_usage_to_proto(spend, state))
    if state.bounds is not None:
        _fill_window(message, state.bounds, now_ms)


def spend_usage_to_proto(spend: Feature, state: LimitState) -> pb.SpendUsage:
    """Return the state of a limit of money."""
    limit = state.limit.limit
    assert spend.spend is not None, spend.id
    assert limit is not None, "an unlimited limit refuses nothing"
    return pb.SpendUsage(
        feature=spend.id,
        currency=spend.spend.currency.code,
        exponent=spend.spend.currency.exponent,
        limit_micros=limit,
        used_micros=state.used,
        remaining_micros=max(limit - state.used, 0),
    )


def _fill_unwindowed(message: pb.Decision, verdict: Verdict) -> None:
    state = verdict.rate
    if state is not None:
        message.limit_id = state.rate.id
        message.limit = state.rate.limit
        message.remaining = state.remaining
    elif verdict.number is not None:
        message.limit = verdict.number
    if verdict.values:
        message.values.extend(verdict.values)


def _hint_to_proto(hint: UpgradeHint) -> pb.UpgradeHint:
    offer = pb.UpgradeOffer(message=hint.offer.message, url=hint.offer.url)
    if hint.plan:
        return pb.UpgradeHint(plan=hint.plan, name=hint.name, offer=offer)
    return pb.UpgradeHint(add_on=hint.add_on, name=hint.name, offer=offer)
