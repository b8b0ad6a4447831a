"""Rows of the database ⇄ values of the rules."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from control_plane.provisioning.time_zones import require_time_zone
from weighbridge.rules.catalog import (
    Entitlement,
    Limit,
    LimitKind,
    Override,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.rate import Rate, RatePeriod, RateScope
from weighbridge.rules.window import Period, Window, WindowKind

Json = dict[str, Any]


def entitlement_to_row(entitlement: Entitlement) -> Json:
    return {
        "feature": entitlement.feature,
        "enabled": entitlement.enabled,
        "number": entitlement.number,
        "values": list(entitlement.values),
        "limits": [_limit_to_row(limit) for limit in entitlement.limits],
        "rates": [_rate_to_row(rate) for rate in entitlement.rates],
    }


def entitlement_from_row(row: Json) -> Entitlement:
    return Entitlement(
        feature=row["feature"],
        enabled=row["enabled"],
        number=row["number"],
        values=tuple(row["values"]),
        limits=tuple(_limit_from_row(limit) for limit in row["limits"]),
        # Rows written before there were rates have none.
        rates=tuple(_rate_from_row(rate) for rate in row.get("rates", ())),
    )


def _rate_to_row(rate: Rate) -> Json:
    return {
        "id": rate.id,
        "limit": rate.limit,
        "period": rate.period.value,
        "burst": rate.burst,
        "scope": rate.scope.value,
    }


def _rate_from_row(row: Json) -> Rate:
    period, scope = RatePeriod(row["period"]), RateScope(row["scope"])
    return Rate(row["id"], row["limit"], period, row["burst"], scope)


def _limit_to_row(limit: Limit) -> Json:
    window = limit.window
    return {
        "id": limit.id,
        "kind": limit.kind.value,
        "limit": limit.limit,
        "window": {
            "kind": window.kind.value,
            "period": None if window.period is None else window.period.value,
            "time_zone": window.time_zone,
            "length_ms": window.length_ms,
        },
    }


def _limit_from_row(row: Json) -> Limit:
    window = row["window"]
    period, time_zone = window["period"], window["time_zone"]
    return Limit(
        id=row["id"],
        kind=LimitKind(row["kind"]),
        limit=row["limit"],
        window=Window(
            kind=WindowKind(window["kind"]),
            period=None if period is None else Period(period),
            time_zone=time_zone,
            zone=require_time_zone("window.time_zone", time_zone),
            length_ms=window["length_ms"],
        ),
    )


def override_from_row(row: Row[Any]) -> Override:
    return Override(
        id=row.id,
        resource=row.resource_id,
        entitlement=entitlement_from_row(row.entitlement),
        starts_at_ms=row.starts_at_ms,
        expires_at_ms=row.expires_at_ms,
    )


def subscription_from_row(row: Row[Any], add_ons: tuple[SubscribedAddOn, ...]) -> Subscription:
    return Subscription(
        id=row.id,
        resource=row.resource_id,
        plan=row.plan_id,
        plan_version=row.plan_version,
        add_ons=add_ons,
        status=SubscriptionStatus(row.status),
        anchor_ms=row.anchor_ms,
        starts_at_ms=row.starts_at_ms,
        ends_at_ms=row.ends_at_ms,
        on_plan_since_ms=row.on_plan_since_ms,
        status_until_ms=row.status_until_ms,
        is_trial=row.is_trial,
        quantity=row.quantity,
    )
