"""Catalogs and what changes in them, as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from weighbridge.cli.credit_view import (
    credit_type_view,
    credit_units,
    grants_table,
    partner_app_view,
    top_ups_table,
)
from weighbridge.cli.customer_view import grant_text
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import facts, listing, listing_or, number, plain, titled
from weighbridge.v1 import admin_service_pb2, types_pb2
from weighbridge.v1.admin_service_pb2 import (
    CatalogChange,
    CatalogSummary,
    CatalogVersion,
    DiffCatalogResponse,
    GetCatalogResponse,
)
from weighbridge.v1.sync_service_pb2 import Feature, PlanVersion, VersionStep

_MARK: Final = {
    admin_service_pb2.CHANGE_KIND_ADDED: Text("+", style="bold green"),
    admin_service_pb2.CHANGE_KIND_REMOVED: Text("-", style="bold red"),
    admin_service_pb2.CHANGE_KIND_CHANGED: Text("~", style="bold yellow"),
}
_COUNTED: Final = {types_pb2.FEATURE_TYPE_METERED, types_pb2.FEATURE_TYPE_NUMBER}
_FEATURE_COLUMNS: Final = (
    "feature",
    "type",
    "unit",
    "values",
    "in an outage",
    "excess",
    "enforced",
)


def diff_view(diff: DiffCatalogResponse) -> Group:
    """Return what would change, and who is affected."""
    if not diff.changes:
        unchanged = f"{diff.catalog}: nothing changes (version {diff.current_version})"
        return Group(Text(unchanged, style="green"), *notice_texts(diff.notices))
    base = f"against version {diff.current_version}" if diff.current_version else "a new catalog"
    rows = [(*_change_cells(each), number(each.customers_affected)) for each in diff.changes]
    changes = listing(("", "change", "customers"), rows)
    table = titled(f"{diff.catalog}, {base}", changes)
    return Group(table, affected_text(diff), *notice_texts(diff.notices))


def notice_texts(notices: Iterable[str]) -> list[Text]:
    """Return what the document says and nobody enforces yet, a line each."""
    return [Text(f"Note: {notice}", style="yellow") for notice in notices]


def affected_text(diff: DiffCatalogResponse) -> Text:
    """Return how many customers a change touches, and some of them."""
    count = diff.customers_affected
    text = Text(f"{len(diff.changes):,} changes; customers affected: {count:,}")
    if count:
        sample = ", ".join(diff.customers_affected_sample)
        more = ", ..." if count > len(diff.customers_affected_sample) else ""
        text.append(f" ({sample}{more})", style="yellow")
    return text


def version_changes(version: CatalogVersion) -> Group:
    """Return what a version changed."""
    rows = [_change_cells(change) for change in version.changes]
    return titled(f"version {version.version}", listing(("", "change"), rows))


def _change_cells(change: CatalogChange) -> tuple[Text, Text]:
    what = Text(plain(change.path))
    values = [plain(value) for value in (change.before, change.after) if value]
    what.append("\n  " + " -> ".join(values), style="dim")
    return _MARK.get(change.kind, Text("?")), what


def catalogs_table(summaries: Iterable[CatalogSummary]) -> RenderableType:
    """Return a line per catalog."""
    columns = ("catalog", "version", "features", "plans", "add-ons", "customers", "applied")
    return listing_or("no catalogs", columns, [_summary_row(summary) for summary in summaries])


def _summary_row(summary: CatalogSummary) -> Sequence[str | Text]:
    return (
        summary.catalog,
        number(summary.version),
        number(summary.features),
        number(summary.plans),
        number(summary.add_ons),
        number(summary.customers),
        format_instant(summary.applied_at_unix_ms),
    )


def history_table(versions: Iterable[CatalogVersion]) -> RenderableType:
    """Return a line per version, as it was applied."""
    columns = ("version", "applied", "plans it changed", "restores")
    return listing_or("no versions", columns, [_version_row(version) for version in versions])


def _version_row(version: CatalogVersion) -> Sequence[str | Text]:
    return (
        number(version.version),
        format_instant(version.applied_at_unix_ms),
        ", ".join(map(_step_text, version.made)),
        f"version {version.restores}" if version.restores else "",
    )


def _step_text(step: VersionStep) -> str:
    text = f"{step.plan} {step.version}"
    if step.migration in (types_pb2.MIGRATION_UNSPECIFIED, types_pb2.MIGRATION_NOW):
        return text
    when = enum_label(types_pb2.Migration.DESCRIPTOR, step.migration) or ""
    return f"{text} ({when.lower()})"


def catalog_view(response: GetCatalogResponse) -> Group:
    """Return one catalog: its features, and what plans and add-ons grant on them."""
    summary, snapshot = response.summary, response.snapshot
    parts: list[RenderableType] = [
        facts(
            [
                ("catalog", summary.catalog),
                ("version", str(summary.version)),
                ("applied", format_instant(summary.applied_at_unix_ms)),
                ("customers", f"{summary.customers:,}"),
                ("default plan", snapshot.default_plan),
            ]
        ),
        titled("Features", listing(_FEATURE_COLUMNS, map(_feature_row, snapshot.features))),
    ]
    counted = {feature.id for feature in snapshot.features if feature.type in _COUNTED}
    units = credit_units(credit_type.unit for credit_type in snapshot.credit_types)
    for plan in snapshot.plans:
        parts.append(_plan_table(plan, counted))
        parts += grants_table(f"Credits of plan {plan.plan}", plan.credit_grants, units)
        parts += top_ups_table(f"Credits bought on plan {plan.plan}", plan.top_ups, units)
    for add_on in snapshot.add_ons:
        rows = _grant_rows(add_on.entitlements, counted)
        plans = f" (for {', '.join(add_on.plans)})" if add_on.plans else ""
        if rows or not add_on.credit_grants:
            parts.append(titled(f"Add-on {add_on.id}{plans}", listing(("feature", "adds"), rows)))
        parts += grants_table(f"Credits of add-on {add_on.id}", add_on.credit_grants, units)
    parts += map(credit_type_view, snapshot.credit_types)
    for app in snapshot.partner_apps:
        parts += partner_app_view(app)
    return Group(*parts)


def _feature_row(feature: Feature) -> Sequence[str | Text]:
    kind = (enum_label(types_pb2.FeatureType.DESCRIPTOR, feature.type) or "").lower()
    if feature.meter == types_pb2.METER_ALLOCATION:
        kind += ", allocation"
    outage = (
        enum_label(types_pb2.OutagePolicyKind.DESCRIPTOR, feature.outage_policy) or ""
    ).lower()
    if feature.outage_policy == types_pb2.OUTAGE_POLICY_KIND_SAFE_CAPACITY:
        outage = f"{outage} {feature.safe_capacity:,}"
    is_observed = feature.enforcement == types_pb2.ENFORCEMENT_OBSERVE
    enforced = Text("observed", style="yellow") if is_observed else "yes"
    values = ", ".join(feature.values)
    return feature.id, kind, feature.unit, values, outage, _excess_text(feature), enforced


def _excess_text(feature: Feature) -> str:
    """Return what becomes of usage beyond a hold, of a metered feature."""
    if feature.type != types_pb2.FEATURE_TYPE_METERED:
        return ""
    excess = enum_label(types_pb2.ExcessPolicyKind.DESCRIPTOR, feature.excess) or "OVERDRAFT"
    bound = f" {feature.overdraft_max:,}" if feature.HasField("overdraft_max") else ""
    return f"{excess.lower()}{bound}"


def _grant_rows(
    entitlements: Iterable[types_pb2.Entitlement], counted: set[str]
) -> list[tuple[str, str]]:
    return [
        (each.feature, grant_text(each, is_counted=each.feature in counted))
        for each in entitlements
    ]


def _plan_table(plan: PlanVersion, counted: set[str]) -> Group:
    upgrades = f", upgrades to {', '.join(plan.upgrades_to)}" if plan.upgrades_to else ""
    rows = _grant_rows(plan.entitlements, counted)
    trial = f", trial of {plan.trial.days} days" if plan.HasField("trial") else ""
    title = f"Plan {plan.plan} (version {plan.version}{upgrades}{trial})"
    return titled(title, listing(("feature", "grants"), rows))
