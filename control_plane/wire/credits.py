"""Credit types, grants and top-ups to protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.wire.entitlements import window_to_proto
from weighbridge.rules.credits import (
    CreditCost,
    CreditGrant,
    CreditType,
    GrantEnd,
    GrantKind,
    MoneyRate,
    TopUp,
)
from weighbridge.rules.rating.money import plain
from weighbridge.v1 import sync_service_pb2, types_pb2

GRANT_KINDS: Final[Mapping[GrantKind, types_pb2.CreditGrantKind.ValueType]] = {
    GrantKind.RECURRING: types_pb2.CREDIT_GRANT_KIND_RECURRING,
    GrantKind.PREPAID: types_pb2.CREDIT_GRANT_KIND_PREPAID,
    GrantKind.PROMOTIONAL: types_pb2.CREDIT_GRANT_KIND_PROMOTIONAL,
    GrantKind.TRIAL: types_pb2.CREDIT_GRANT_KIND_TRIAL,
    GrantKind.MANUAL: types_pb2.CREDIT_GRANT_KIND_MANUAL,
}

GRANT_ENDS: Final[Mapping[GrantEnd, types_pb2.CreditGrantEnd.ValueType]] = {
    GrantEnd.NEVER: types_pb2.CREDIT_GRANT_END_NEVER,
    GrantEnd.PERIOD_END: types_pb2.CREDIT_GRANT_END_PERIOD_END,
    GrantEnd.TRIAL_END: types_pb2.CREDIT_GRANT_END_TRIAL_END,
    GrantEnd.AFTER_DAYS: types_pb2.CREDIT_GRANT_END_AFTER_DAYS,
}


def credit_type_to_proto(credit_type: CreditType) -> sync_service_pb2.CreditType:
    return sync_service_pb2.CreditType(
        unit=types_pb2.CreditUnit(
            credit_type=credit_type.id,
            name=credit_type.name,
            unit=credit_type.unit,
            decimals=credit_type.decimals,
        ),
        worth=[_rate_to_proto(rate) for rate in credit_type.worth],
        costs=[_cost_to_proto(cost) for costs in credit_type.costs.values() for cost in costs],
    )


def _cost_to_proto(cost: CreditCost) -> sync_service_pb2.CreditCost:
    return sync_service_pb2.CreditCost(
        feature=cost.feature, match=dict(cost.match), micro_per_million=cost.micro
    )


def _rate_to_proto(rate: MoneyRate) -> sync_service_pb2.MoneyRate:
    return sync_service_pb2.MoneyRate(
        currency=rate.currency.code,
        exponent=rate.currency.exponent,
        amount=plain(rate.amount),
        per=rate.per,
    )


def credit_grant_to_proto(grant: CreditGrant) -> types_pb2.CreditGrant:
    return types_pb2.CreditGrant(
        id=grant.id,
        credit_type=grant.credit_type,
        amount_micro=grant.micro,
        kind=GRANT_KINDS[grant.kind],
        every=None if grant.every is None else window_to_proto(grant.every),
        per_seat=grant.per_seat,
        priority=grant.priority,
        starts_after_days=grant.starts_after_days,
        end=GRANT_ENDS[grant.expiry.end],
        expires_after_days=grant.expiry.days,
        rollover_micro_max=grant.rollover_micro,
    )


def top_up_to_proto(top_up: TopUp) -> sync_service_pb2.TopUp:
    return sync_service_pb2.TopUp(
        credit_type=top_up.credit_type,
        threshold_micro=top_up.threshold_micro,
        target_micro=top_up.target_micro,
        monthly_cap_micro=top_up.monthly_cap_micro,
        prices=[_rate_to_proto(rate) for rate in top_up.prices],
        priority=top_up.priority,
        end=GRANT_ENDS[top_up.expiry.end],
        expires_after_days=top_up.expiry.days,
    )
