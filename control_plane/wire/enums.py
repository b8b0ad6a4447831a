"""Enums: one table for each, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from weighbridge.rules.catalog import (
    CustomerStatus,
    Enforcement,
    FeatureType,
    LimitKind,
    Meter,
    Migration,
    OutageKind,
    SubscriptionStatus,
)
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.rate import RatePeriod, RateScope
from weighbridge.rules.reservation import ExcessKind
from weighbridge.rules.window import Period, WindowKind
from weighbridge.v1 import types_pb2

ValueT = TypeVar("ValueT")
NumberT = TypeVar("NumberT", bound=int)

FEATURE_TYPES: Final[Mapping[FeatureType, types_pb2.FeatureType.ValueType]] = {
    FeatureType.BOOLEAN: types_pb2.FEATURE_TYPE_BOOLEAN,
    FeatureType.NUMBER: types_pb2.FEATURE_TYPE_NUMBER,
    FeatureType.ENUM: types_pb2.FEATURE_TYPE_ENUM,
    FeatureType.METERED: types_pb2.FEATURE_TYPE_METERED,
}

LIMIT_KINDS: Final[Mapping[LimitKind, types_pb2.LimitKind.ValueType]] = {
    LimitKind.HARD: types_pb2.LIMIT_KIND_HARD,
    LimitKind.SOFT: types_pb2.LIMIT_KIND_SOFT,
}

WINDOW_KINDS: Final[Mapping[WindowKind, types_pb2.WindowKind.ValueType]] = {
    WindowKind.CALENDAR: types_pb2.WINDOW_KIND_CALENDAR,
    WindowKind.ANNIVERSARY: types_pb2.WINDOW_KIND_ANNIVERSARY,
    WindowKind.LIFETIME: types_pb2.WINDOW_KIND_LIFETIME,
    WindowKind.ROLLING: types_pb2.WINDOW_KIND_ROLLING,
    WindowKind.SESSION: types_pb2.WINDOW_KIND_SESSION,
}

PERIODS: Final[Mapping[Period, types_pb2.WindowPeriod.ValueType]] = {
    Period.HOUR: types_pb2.WINDOW_PERIOD_HOUR,
    Period.DAY: types_pb2.WINDOW_PERIOD_DAY,
    Period.WEEK: types_pb2.WINDOW_PERIOD_WEEK,
    Period.MONTH: types_pb2.WINDOW_PERIOD_MONTH,
    Period.YEAR: types_pb2.WINDOW_PERIOD_YEAR,
}

OUTAGE_KINDS: Final[Mapping[OutageKind, types_pb2.OutagePolicyKind.ValueType]] = {
    OutageKind.DENY: types_pb2.OUTAGE_POLICY_KIND_DENY,
    OutageKind.ALLOW: types_pb2.OUTAGE_POLICY_KIND_ALLOW,
    OutageKind.LAST_KNOWN: types_pb2.OUTAGE_POLICY_KIND_LAST_KNOWN,
    OutageKind.SAFE_CAPACITY: types_pb2.OUTAGE_POLICY_KIND_SAFE_CAPACITY,
    OutageKind.LEASED: types_pb2.OUTAGE_POLICY_KIND_LEASED,
}

CONSISTENCIES: Final[Mapping[Consistency, types_pb2.Consistency.ValueType]] = {
    Consistency.LEASED: types_pb2.CONSISTENCY_LEASED,
    Consistency.CACHED: types_pb2.CONSISTENCY_CACHED,
    Consistency.AUTHORITATIVE: types_pb2.CONSISTENCY_AUTHORITATIVE,
}

LOST_LEASES: Final[Mapping[LostLease, types_pb2.LostLease.ValueType]] = {
    LostLease.CHARGE: types_pb2.LOST_LEASE_CHARGE,
    LostLease.RELEASE: types_pb2.LOST_LEASE_RELEASE,
}

EXCESS_KINDS: Final[Mapping[ExcessKind, types_pb2.ExcessPolicyKind.ValueType]] = {
    ExcessKind.REJECT: types_pb2.EXCESS_POLICY_KIND_REJECT,
    ExcessKind.TAKE_AVAILABLE: types_pb2.EXCESS_POLICY_KIND_TAKE_AVAILABLE,
    ExcessKind.OVERDRAFT: types_pb2.EXCESS_POLICY_KIND_OVERDRAFT,
}

MIGRATIONS: Final[Mapping[Migration, types_pb2.Migration.ValueType]] = {
    Migration.NOW: types_pb2.MIGRATION_NOW,
    Migration.AT_PERIOD_END: types_pb2.MIGRATION_AT_PERIOD_END,
    Migration.NEW_CUSTOMERS: types_pb2.MIGRATION_NEW_CUSTOMERS,
}

METERS: Final[Mapping[Meter, types_pb2.Meter.ValueType]] = {
    Meter.SUM: types_pb2.METER_SUM,
    Meter.ALLOCATION: types_pb2.METER_ALLOCATION,
    Meter.SPEND: types_pb2.METER_SPEND,
}

ENFORCEMENTS: Final[Mapping[Enforcement, types_pb2.Enforcement.ValueType]] = {
    Enforcement.ENFORCE: types_pb2.ENFORCEMENT_ENFORCE,
    Enforcement.OBSERVE: types_pb2.ENFORCEMENT_OBSERVE,
}

RATE_PERIODS: Final[Mapping[RatePeriod, types_pb2.RatePeriod.ValueType]] = {
    RatePeriod.SECOND: types_pb2.RATE_PERIOD_SECOND,
    RatePeriod.MINUTE: types_pb2.RATE_PERIOD_MINUTE,
    RatePeriod.HOUR: types_pb2.RATE_PERIOD_HOUR,
}

RATE_SCOPES: Final[Mapping[RateScope, types_pb2.RateScope.ValueType]] = {
    RateScope.SIDECAR: types_pb2.RATE_SCOPE_SIDECAR,
    RateScope.FLEET: types_pb2.RATE_SCOPE_FLEET,
}

CUSTOMER_STATUSES: Final[Mapping[CustomerStatus, types_pb2.CustomerStatus.ValueType]] = {
    CustomerStatus.ACTIVE: types_pb2.CUSTOMER_STATUS_ACTIVE,
    CustomerStatus.ARCHIVED: types_pb2.CUSTOMER_STATUS_ARCHIVED,
    CustomerStatus.REVOKED: types_pb2.CUSTOMER_STATUS_REVOKED,
}

SUBSCRIPTION_STATUSES: Final[
    Mapping[SubscriptionStatus, types_pb2.SubscriptionStatus.ValueType]
] = {
    SubscriptionStatus.ACTIVE: types_pb2.SUBSCRIPTION_STATUS_ACTIVE,
    SubscriptionStatus.CANCELED: types_pb2.SUBSCRIPTION_STATUS_CANCELED,
    SubscriptionStatus.PAUSED: types_pb2.SUBSCRIPTION_STATUS_PAUSED,
    SubscriptionStatus.PAST_DUE: types_pb2.SUBSCRIPTION_STATUS_PAST_DUE,
}


def enum_from_proto(field: str, table: Mapping[ValueT, NumberT], number: NumberT) -> ValueT:
    """Return the value of a number on the wire, or raise InvalidArgumentError naming the field."""
    for value, known in table.items():
        if known == number:
            return value
    problem = f"{int(number)} is not a known value" if number else "is not set"
    raise InvalidArgumentError(field, problem)
