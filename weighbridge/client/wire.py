"""Protobuf to the client's values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from weighbridge.client import values
from weighbridge.rules.catalog import FeatureType, LimitKind
from weighbridge.rules.decision import Reason
from weighbridge.rules.rate import RatePeriod, RateScope
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.spend import money_of
from weighbridge.rules.window import Period, WindowKind
from weighbridge.v1 import sidecar_service_pb2, types_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)

E = TypeVar("E", bound=Enum)


def _by_number(wire: Any, enum: type[E], prefix: str) -> dict[int, E]:
    """Pair an enum's numbers on the wire with its members, by name; 0 is "unspecified"."""
    return {
        number: enum[name.removeprefix(prefix)]
        for name, number in wire.items()
        if number and name.removeprefix(prefix) in enum.__members__
    }


# Looked up with `get`: a number that a newer sidecar sends becomes None, not an exception.
_REASONS: Final = _by_number(types_pb2.Reason, Reason, "REASON_")
_DECIDED_BY: Final = _by_number(types_pb2.DecidedBy, values.DecidedBy, "DECIDED_BY_")
_FEATURE_TYPES: Final = _by_number(types_pb2.FeatureType, FeatureType, "FEATURE_TYPE_")
_LIMIT_KINDS: Final = _by_number(types_pb2.LimitKind, LimitKind, "LIMIT_KIND_")
_WINDOW_KINDS: Final = _by_number(types_pb2.WindowKind, WindowKind, "WINDOW_KIND_")
_RATE_PERIODS: Final = _by_number(types_pb2.RatePeriod, RatePeriod, "RATE_PERIOD_")
_RATE_SCOPES: Final = _by_number(types_pb2.RateScope, RateScope, "RATE_SCOPE_")
_PERIODS: Final = _by_number(types_pb2.WindowPeriod, Period, "WINDOW_PERIOD_")
_METER_SIGNALS: Final = _by_number(
    sidecar_service_pb2.MeterSignal, values.MeterSignal, "METER_SIGNAL_"
)


def unix_ms(at: datetime) -> int:
    """Return milliseconds since 1970 UTC of an aware datetime, rounded down."""
    return (at - _EPOCH) // _MS


def instant(at_ms: int) -> datetime:
    """Return the datetime, in UTC, of milliseconds since 1970 UTC."""
    return _EPOCH + at_ms * _MS


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _optional_instant(message: Any, field: str) -> datetime | None:
    return instant(getattr(message, field)) if message.HasField(field) else None


def _optional_span(message: Any, field: str) -> timedelta | None:
    return getattr(message, field) * _MS if message.HasField(field) else None


def decision_from_proto(message: types_pb2.Decision) -> values.Decision:
    """Convert one decision."""
    return values.Decision(
        allowed=message.allowed,
        reason=_REASONS.get(message.reason),
        feature=message.feature,
        limit_id=message.limit_id or None,
        limit=_optional(message, "limit"),
        used=_optional(message, "used"),
        remaining=_optional(message, "remaining"),
        reserved=message.reserved,
        included_amount=message.included_amount,
        overage_amount=message.overage_amount,
        window_start=_optional_instant(message, "window_start_unix_ms"),
        window_end=_optional_instant(message, "window_end_unix_ms"),
        resets_in=_optional_span(message, "resets_in_ms"),
        retry_after=_optional_span(message, "retry_after_ms"),
        upgrade_hints=tuple(_upgrade_hint_from_proto(hint) for hint in message.upgrade_hints),
        snapshot_age=_optional_span(message, "snapshot_age_ms"),
        decided_by=_DECIDED_BY.get(message.decided_by),
        max_overshoot=_optional(message, "max_overshoot"),
        allowed_amount=_optional(message, "allowed_amount"),
        values=tuple(message.values),
        catalog_version=message.catalog_version,
        snapshot_version=message.snapshot_version,
        observed_reason=_REASONS.get(message.observed_reason),
        limited_by=message.limited_by or None,
        spend=_spend_from_proto(message.spend) if message.HasField("spend") else None,
    )


def _spend_from_proto(message: types_pb2.SpendUsage) -> values.SpendUsage:
    currency = Currency(message.currency, message.exponent)
    return values.SpendUsage(
        feature=message.feature,
        currency=message.currency,
        limit=money_of(message.limit_micros, currency),
        used=money_of(message.used_micros, currency),
        remaining=money_of(message.remaining_micros, currency),
    )


def _upgrade_hint_from_proto(message: types_pb2.UpgradeHint) -> values.UpgradeHint:
    return values.UpgradeHint(
        plan=message.plan or None,
        add_on=message.add_on or None,
        name=message.name,
        message=message.offer.message,
        url=message.offer.url,
    )


def consumption_from_proto(message: sidecar_service_pb2.ConsumeResponse) -> values.Consumption:
    """Convert the answer to Consume."""
    has_receipt = message.HasField("receipt")
    return values.Consumption(
        decision=decision_from_proto(message.decision),
        receipt=_receipt(message.receipt, is_replayed=message.replayed) if has_receipt else None,
    )


def receipt_from_proto(message: sidecar_service_pb2.ReportResponse) -> values.Receipt:
    """Convert the answer to Report."""
    return _receipt(message.receipt, is_replayed=message.replayed)


def _receipt(message: sidecar_service_pb2.Receipt, *, is_replayed: bool) -> values.Receipt:
    return values.Receipt(
        epoch=message.epoch,
        record_number=message.record_number,
        amount=message.amount,
        included_amount=message.included_amount,
        overage_amount=message.overage_amount,
        is_replayed=is_replayed,
    )


def reserved_from_proto(
    message: sidecar_service_pb2.ReserveResponse | sidecar_service_pb2.ExtendResponse,
) -> values.Reserved:
    """Convert the answer to Reserve or Extend."""
    hold = message.reservation
    return values.Reserved(
        decision=decision_from_proto(message.decision),
        reservation=values.Reservation(hold.id, hold.amount, instant(hold.expires_at_unix_ms))
        if message.HasField("reservation")
        else None,
        is_replayed=isinstance(message, sidecar_service_pb2.ReserveResponse) and message.replayed,
    )


def settlement_from_proto(message: sidecar_service_pb2.SettleResponse) -> values.Settlement:
    """Convert the answer to Settle."""
    return values.Settlement(
        receipt=_receipt(message.receipt, is_replayed=message.replayed),
        had_expired=message.had_expired,
        excess_amount=message.excess_amount,
        uncharged_amount=message.uncharged_amount,
        charged_before_amount=message.charged_before_amount,
    )


def released_from_proto(message: sidecar_service_pb2.ReleaseResponse) -> values.Released:
    """Convert the answer to Release."""
    return values.Released(message.released_amount, message.had_expired, message.replayed)


def meter_answer_from_proto(message: sidecar_service_pb2.MeterResponse) -> values.MeterAnswer:
    """Convert one answer of a Meter."""
    return values.MeterAnswer(
        signal=_METER_SIGNALS.get(message.signal),
        used=message.used_amount,
        held=message.held_amount,
        remaining=_optional(message, "remaining"),
        threshold_percent=message.threshold_percent or None,
        decision=decision_from_proto(message.decision) if message.HasField("decision") else None,
    )


def metered_from_proto(message: sidecar_service_pb2.MeterResponse) -> values.Settlement:
    """Convert the last answer of a Meter."""
    receipt = _receipt(message.receipt, is_replayed=False)
    return values.Settlement(
        receipt,
        uncharged_amount=message.uncharged_amount,
        charged_before_amount=message.charged_before_amount,
    )


def entitlements_from_proto(message: types_pb2.CustomerEntitlements) -> values.Entitlements:
    """Convert all entitlements of a customer or resource."""
    return values.Entitlements(
        customer=message.customer,
        resource=message.resource,
        reason=_REASONS.get(message.reason),
        catalog=message.catalog,
        catalog_version=message.catalog_version,
        plan=message.plan,
        plan_version=message.plan_version,
        snapshot_version=message.snapshot_version,
        snapshot_age=_optional_span(message, "snapshot_age_ms"),
        features=MappingProxyType(
            {item.feature: _feature_entitlement_from_proto(item) for item in message.features}
        ),
        inherited_from=message.inherited_from or None,
        limited_by=message.limited_by or None,
    )


def _feature_entitlement_from_proto(
    message: types_pb2.FeatureEntitlement,
) -> values.FeatureEntitlement:
    return values.FeatureEntitlement(
        feature=message.feature,
        type=_FEATURE_TYPES.get(message.type),
        unit=message.unit,
        enabled=message.enabled,
        number=_optional(message, "number"),
        values=tuple(message.values),
        limits=tuple(_limit_usage_from_proto(usage) for usage in message.limits),
        rates=tuple(_rate_usage_from_proto(usage) for usage in message.rates),
        credit_type=message.credits.credit_type,
    )


def _rate_usage_from_proto(message: types_pb2.RateUsage) -> values.RateUsage:
    rate = message.rate
    return values.RateUsage(
        id=rate.id,
        limit=rate.limit,
        per=_RATE_PERIODS.get(rate.period),
        burst=rate.burst,
        remaining=message.remaining,
        limited_by=message.limited_by or None,
        scope=_RATE_SCOPES.get(rate.scope),
    )


def _limit_usage_from_proto(message: types_pb2.LimitUsage) -> values.LimitUsage:
    limit = message.limit
    return values.LimitUsage(
        id=limit.id,
        kind=_LIMIT_KINDS.get(limit.kind),
        limit=_optional(limit, "limit"),
        used=message.used,
        remaining=_optional(message, "remaining"),
        window=_WINDOW_KINDS.get(limit.window.kind),
        period=_PERIODS.get(limit.window.period),
        time_zone=limit.window.time_zone or "UTC",
        window_start=_optional_instant(message, "window_start_unix_ms"),
        window_end=_optional_instant(message, "window_end_unix_ms"),
        length=limit.window.length_ms * _MS if limit.window.length_ms else None,
        limited_by=message.limited_by or None,
        reserved=message.reserved,
    )
