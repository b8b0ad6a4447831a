"""Entitlements, limits and windows ⇄ protobuf."""

from __future__ import annotations

from control_plane.provisioning.time_zones import require_time_zone
from control_plane.provisioning.wanted import WantedEntitlement, WantedLimit
from control_plane.wire.enums import (
    LIMIT_KINDS,
    PERIODS,
    RATE_PERIODS,
    RATE_SCOPES,
    WINDOW_KINDS,
    enum_from_proto,
)
from weighbridge.rules.catalog import CreditDraw, Entitlement, Limit
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rate import Rate, RateScope
from weighbridge.rules.window import MOVING_KINDS, Window, WindowKind, length_problem
from weighbridge.v1 import types_pb2


def window_to_proto(window: Window) -> types_pb2.Window:
    if window.period is None:
        return types_pb2.Window(kind=WINDOW_KINDS[window.kind], length_ms=window.length_ms or 0)
    return types_pb2.Window(
        kind=WINDOW_KINDS[window.kind],
        period=PERIODS[window.period],
        time_zone=window.time_zone,
    )


def window_from_proto(field: str, window: types_pb2.Window) -> Window:
    """Return the window with its time-zone object. Raises InvalidArgumentError."""
    kind = enum_from_proto(f"{field}.kind", WINDOW_KINDS, window.kind)
    if kind is WindowKind.LIFETIME:
        if window.period:
            raise InvalidArgumentError(f"{field}.period", "a lifetime window has none; leave it")
        return Window(kind)
    if kind in MOVING_KINDS:
        problem = length_problem(window.length_ms)
        if problem is not None:
            raise InvalidArgumentError(f"{field}.length_ms", f"{window.length_ms} {problem}")
        return Window(kind, length_ms=window.length_ms)
    period = enum_from_proto(f"{field}.period", PERIODS, window.period)
    time_zone = window.time_zone or "UTC"
    zone = require_time_zone(f"{field}.time_zone", time_zone)
    return Window(kind, period, time_zone, zone)


def limit_to_proto(limit: Limit) -> types_pb2.Limit:
    return types_pb2.Limit(
        id=limit.id,
        kind=LIMIT_KINDS[limit.kind],
        limit=limit.limit,
        window=window_to_proto(limit.window),
        per_seat=limit.per_seat,
    )


def rate_to_proto(rate: Rate) -> types_pb2.Rate:
    return types_pb2.Rate(
        id=rate.id,
        limit=rate.limit,
        period=RATE_PERIODS[rate.period],
        burst=rate.burst,
        scope=RATE_SCOPES[rate.scope],
    )


def rate_from_proto(field: str, rate: types_pb2.Rate) -> Rate:
    """Return the rate; its burst is its limit where none is set, and each sidecar has it.

    Raises InvalidArgumentError.
    """
    scope = RateScope.SIDECAR
    if rate.scope:
        scope = enum_from_proto(f"{field}.scope", RATE_SCOPES, rate.scope)
    return Rate(
        id=rate.id,
        limit=rate.limit,
        period=enum_from_proto(f"{field}.period", RATE_PERIODS, rate.period),
        burst=rate.burst if rate.HasField("burst") else rate.limit,
        scope=scope,
    )


def entitlement_to_proto(entitlement: Entitlement) -> types_pb2.Entitlement:
    return types_pb2.Entitlement(
        feature=entitlement.feature,
        enabled=entitlement.enabled,
        number=entitlement.number,
        values=entitlement.values,
        limits=[limit_to_proto(limit) for limit in entitlement.limits],
        rates=[rate_to_proto(rate) for rate in entitlement.rates],
        credits=None if entitlement.credit is None else draw_to_proto(entitlement.credit),
    )


def draw_to_proto(draw: CreditDraw) -> types_pb2.CreditDraw:
    return types_pb2.CreditDraw(credit_type=draw.credit_type, kind=LIMIT_KINDS[draw.kind])


def wanted_limit_from_proto(field: str, limit: types_pb2.Limit) -> WantedLimit:
    """Return a limit whose kind and window may be left out. Raises InvalidArgumentError."""
    if limit.per_seat:
        raise InvalidArgumentError(
            f"{field}.per_seat", "cannot be given: an override sets the limit of all seats together"
        )
    return WantedLimit(
        id=limit.id,
        limit=limit.limit if limit.HasField("limit") else None,
        kind=enum_from_proto(f"{field}.kind", LIMIT_KINDS, limit.kind) if limit.kind else None,
        window=window_from_proto(f"{field}.window", limit.window)
        if limit.HasField("window")
        else None,
    )


def wanted_entitlement_from_proto(
    field: str, entitlement: types_pb2.Entitlement
) -> WantedEntitlement:
    """Return what a caller wants of a feature. Raises InvalidArgumentError."""
    if entitlement.HasField("credits"):
        problem = "cannot be given: what is paid with credits, plans and add-ons say"
        raise InvalidArgumentError(f"{field}.credits", problem)
    return WantedEntitlement(
        feature=entitlement.feature,
        enabled=entitlement.enabled,
        number=entitlement.number if entitlement.HasField("number") else None,
        values=tuple(entitlement.values),
        limits=tuple(
            wanted_limit_from_proto(f"{field}.limits[{index}]", limit)
            for index, limit in enumerate(entitlement.limits)
        ),
        rates=tuple(
            rate_from_proto(f"{field}.rates[{index}]", rate)
            for index, rate in enumerate(entitlement.rates)
        ),
    )
