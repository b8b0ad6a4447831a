"""All entitlements of a customer as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from weighbridge.cli.credit_view import credit_units, draw_text, grants_table
from weighbridge.cli.instants import format_duration, format_instant
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import facts, listing
from weighbridge.cli.rate_text import rate_text
from weighbridge.cli.window_text import window_text
from weighbridge.v1 import types_pb2

_NEAR_SHARE: Final = 0.8
_COLUMNS: Final = ("feature", "grants", "used", "reserved", "limit", "left", "resets")


def entitlements_view(entitlements: types_pb2.CustomerEntitlements) -> Group:
    """Return who it is, the plan, and a line per limit."""
    reason = enum_label(types_pb2.Reason.DESCRIPTOR, entitlements.reason)
    head = facts(
        [
            ("customer", entitlements.customer),
            ("resource", entitlements.resource),
            ("catalog", _versioned(entitlements.catalog, entitlements.catalog_version)),
            ("plan", _versioned(entitlements.plan, entitlements.plan_version)),
            ("inherited from", entitlements.inherited_from),
            ("refused", Text(reason, style="bold red") if reason else ""),
            ("limited by", entitlements.limited_by),
            ("snapshot", _age(entitlements)),
        ]
    )
    rows = [row for feature in entitlements.features for row in _rows(feature)]
    parts: list[RenderableType] = [head, listing(_COLUMNS, rows)] if rows else [head]
    units = credit_units(entitlements.credit_units)
    parts += grants_table("Credits granted", entitlements.credit_grants, units)
    return Group(*parts)


def _versioned(name: str, version: int) -> str:
    return f"{name} (version {version})" if name else ""


def _age(entitlements: types_pb2.CustomerEntitlements) -> str:
    if not entitlements.HasField("snapshot_age_ms"):
        return ""
    return f"{format_duration(entitlements.snapshot_age_ms)} old"


def _rows(feature: types_pb2.FeatureEntitlement) -> Iterator[tuple[str | Text, ...]]:
    if feature.HasField("credits"):
        yield feature.feature, draw_text(feature.credits), "", "", "", "", ""
    elif not feature.limits and not feature.rates:
        yield feature.feature, _grant(feature), "", "", "", "", ""
    for usage in feature.limits:
        yield _limit_row(feature, usage)
    for rate in feature.rates:
        yield _rate_row(feature, rate)


def _grant(feature: types_pb2.FeatureEntitlement) -> Text:
    if not feature.enabled:
        return Text("no", style="dim")
    if feature.HasField("number"):
        return Text(f"{feature.number:,} {feature.unit}".strip())
    if feature.type == types_pb2.FEATURE_TYPE_ENUM:
        return Text(", ".join(feature.values))
    if feature.type in {types_pb2.FEATURE_TYPE_METERED, types_pb2.FEATURE_TYPE_NUMBER}:
        return Text(f"unlimited {feature.unit}".strip())
    return Text("yes", style="green")


def _limit_row(
    feature: types_pb2.FeatureEntitlement, usage: types_pb2.LimitUsage
) -> tuple[str | Text, ...]:
    limit = usage.limit
    kind = enum_label(types_pb2.LimitKind.DESCRIPTOR, limit.kind) or ""
    unlimited = not limit.HasField("limit")
    return (
        feature.feature,
        f"{limit.id} ({kind.lower()}, {window_text(limit.window)}){_of(usage)}",
        Text(f"{usage.used:,}", style=_style(usage), justify="right"),
        Text(f"{usage.reserved:,}" if usage.reserved else "", justify="right"),
        Text("unlimited" if unlimited else f"{limit.limit:,}", justify="right"),
        Text(f"{usage.remaining:,}" if usage.HasField("remaining") else "", justify="right"),
        _resets(usage),
    )


def _resets(usage: types_pb2.LimitUsage) -> str:
    if usage.HasField("window_end_unix_ms"):
        return format_instant(usage.window_end_unix_ms)
    if usage.limit.window.kind == types_pb2.WINDOW_KIND_SESSION:
        return "none open"
    return "" if usage.limit.window.length_ms else "never"


def _rate_row(
    feature: types_pb2.FeatureEntitlement, usage: types_pb2.RateUsage
) -> tuple[str | Text, ...]:
    left = Text(f"{usage.remaining:,}", justify="right")
    grants = f"{usage.rate.id} ({rate_text(usage.rate)}){_of(usage)}"
    return feature.feature, grants, "", "", "", left, ""


def _of(usage: types_pb2.LimitUsage | types_pb2.RateUsage) -> str:
    return f" of {usage.limited_by}" if usage.limited_by else ""


def _style(usage: types_pb2.LimitUsage) -> str:
    if not usage.limit.HasField("limit") or usage.used < usage.limit.limit * _NEAR_SHARE:
        return ""
    return "red" if usage.used >= usage.limit.limit else "yellow"
