"""Credit types, grants and top-ups, as the control plane sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sidecar.wire.known import decimal_of, known
from weighbridge.rules.credits import (
    CreditCost,
    CreditGrant,
    CreditType,
    GrantEnd,
    GrantExpiry,
    GrantKind,
    MoneyRate,
    TopUp,
)
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.window import Window
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

GRANT_KINDS: Final[Mapping[int, GrantKind]] = {
    pb.CREDIT_GRANT_KIND_RECURRING: GrantKind.RECURRING,
    pb.CREDIT_GRANT_KIND_PREPAID: GrantKind.PREPAID,
    pb.CREDIT_GRANT_KIND_PROMOTIONAL: GrantKind.PROMOTIONAL,
    pb.CREDIT_GRANT_KIND_TRIAL: GrantKind.TRIAL,
    pb.CREDIT_GRANT_KIND_MANUAL: GrantKind.MANUAL,
}
GRANT_ENDS: Final[Mapping[int, GrantEnd]] = {
    pb.CREDIT_GRANT_END_NEVER: GrantEnd.NEVER,
    pb.CREDIT_GRANT_END_PERIOD_END: GrantEnd.PERIOD_END,
    pb.CREDIT_GRANT_END_TRIAL_END: GrantEnd.TRIAL_END,
    pb.CREDIT_GRANT_END_AFTER_DAYS: GrantEnd.AFTER_DAYS,
}


def credit_types_from_proto(messages: Iterable[sync_pb.CreditType]) -> dict[str, CreditType]:
    """Return the credit types, by id."""
    return {message.unit.credit_type: _credit_type_from_proto(message) for message in messages}


def _credit_type_from_proto(message: sync_pb.CreditType) -> CreditType:
    costs: dict[str, tuple[CreditCost, ...]] = {}
    for cost in message.costs:
        match = tuple(sorted(cost.match.items()))
        read = CreditCost(cost.feature, cost.micro_per_million, match)
        costs[cost.feature] = (*costs.get(cost.feature, ()), read)
    return CreditType(
        id=message.unit.credit_type,
        name=message.unit.name,
        unit=message.unit.unit,
        decimals=message.unit.decimals,
        worth=_rates_from_proto(message.worth),
        costs=costs,
    )


def _rates_from_proto(messages: Iterable[sync_pb.MoneyRate]) -> tuple[MoneyRate, ...]:
    return tuple(
        MoneyRate(
            Currency(message.currency, message.exponent),
            decimal_of(message.amount, "amount"),
            message.per,
        )
        for message in messages
    )


def credit_grants_from_proto(
    messages: Iterable[pb.CreditGrant], window: Callable[[pb.Window], Window]
) -> tuple[CreditGrant, ...]:
    """Return the grants, in order."""
    return tuple(
        CreditGrant(
            id=message.id,
            credit_type=message.credit_type,
            micro=message.amount_micro,
            kind=known(GRANT_KINDS, message.kind, "credit_grants.kind"),
            every=window(message.every) if message.HasField("every") else None,
            per_seat=message.per_seat,
            priority=message.priority,
            starts_after_days=message.starts_after_days,
            expiry=_expiry_from_proto(message),
            rollover_micro=(
                message.rollover_micro_max if message.HasField("rollover_micro_max") else None
            ),
        )
        for message in messages
    )


def top_ups_from_proto(messages: Iterable[sync_pb.TopUp]) -> tuple[TopUp, ...]:
    """Return the top-ups, in order."""
    return tuple(
        TopUp(
            credit_type=message.credit_type,
            threshold_micro=message.threshold_micro,
            target_micro=message.target_micro,
            monthly_cap_micro=(
                message.monthly_cap_micro if message.HasField("monthly_cap_micro") else None
            ),
            prices=_rates_from_proto(message.prices),
            priority=message.priority,
            expiry=_expiry_from_proto(message),
        )
        for message in messages
    )


def _expiry_from_proto(message: pb.CreditGrant | sync_pb.TopUp) -> GrantExpiry:
    return GrantExpiry(known(GRANT_ENDS, message.end, "end"), message.expires_after_days)
