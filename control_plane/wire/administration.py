"""What administrators send and are answered ⇄ protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from control_plane.catalog import CatalogChange, ChangeKind
from control_plane.metering.queries import UsageGroup, UsageQuery, UsageRow
from control_plane.provisioning import (
    ChangeTime,
    MigrationChoice,
    NewCustomer,
    Rollback,
    WantedOverride,
    WantedSubscription,
)
from control_plane.provisioning.applying import AppliedCatalog, CatalogDiff, CountedChanges
from control_plane.provisioning.catalogs import CatalogSummary, StoredCatalog
from control_plane.provisioning.history import VersionPage
from control_plane.provisioning.loading import CustomerRecord
from control_plane.wire.entitlements import wanted_entitlement_from_proto
from control_plane.wire.enums import CUSTOMER_STATUSES, MIGRATIONS, enum_from_proto
from control_plane.wire.snapshots import (
    catalog_to_proto,
    override_to_proto,
    subscribed_add_on_from_proto,
    subscription_to_proto,
    version_step_to_proto,
)
from weighbridge.rules.catalog import Migration
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.v1 import admin_service_pb2, types_pb2

CHANGE_KINDS: Final[Mapping[ChangeKind, admin_service_pb2.ChangeKind.ValueType]] = {
    ChangeKind.ADDED: admin_service_pb2.CHANGE_KIND_ADDED,
    ChangeKind.REMOVED: admin_service_pb2.CHANGE_KIND_REMOVED,
    ChangeKind.CHANGED: admin_service_pb2.CHANGE_KIND_CHANGED,
}

CHANGE_TIMES: Final[Mapping[ChangeTime, admin_service_pb2.ChangeTime.ValueType]] = {
    ChangeTime.NOW: admin_service_pb2.CHANGE_TIME_NOW,
    ChangeTime.PERIOD_END: admin_service_pb2.CHANGE_TIME_PERIOD_END,
}

USAGE_GROUPS: Final[Mapping[UsageGroup, admin_service_pb2.UsageGroup.ValueType]] = {
    UsageGroup.CUSTOMER: admin_service_pb2.USAGE_GROUP_CUSTOMER,
    UsageGroup.RESOURCE: admin_service_pb2.USAGE_GROUP_RESOURCE,
    UsageGroup.FEATURE: admin_service_pb2.USAGE_GROUP_FEATURE,
    UsageGroup.HOUR: admin_service_pb2.USAGE_GROUP_HOUR,
    UsageGroup.DAY: admin_service_pb2.USAGE_GROUP_DAY,
    UsageGroup.WEEK: admin_service_pb2.USAGE_GROUP_WEEK,
    UsageGroup.MONTH: admin_service_pb2.USAGE_GROUP_MONTH,
}


def change_to_proto(change: CatalogChange, customers: int = 0) -> admin_service_pb2.CatalogChange:
    return admin_service_pb2.CatalogChange(
        path=change.path,
        kind=CHANGE_KINDS[change.kind],
        before=change.before,
        after=change.after,
        customers_affected=customers,
    )


def diff_to_proto(diff: CatalogDiff) -> admin_service_pb2.DiffCatalogResponse:
    return admin_service_pb2.DiffCatalogResponse(
        catalog=diff.catalog,
        current_version=diff.current_version,
        changes=[change_to_proto(each.change, each.customers) for each in diff.changes],
        customers_affected=diff.affected.count,
        customers_affected_sample=diff.affected.sample,
        notices=diff.notices,
    )


def applied_to_proto(
    applied: AppliedCatalog, counted: CountedChanges
) -> admin_service_pb2.ApplyCatalogResponse:
    return admin_service_pb2.ApplyCatalogResponse(
        catalog=applied.catalog,
        version=applied.version,
        changes=[change_to_proto(each.change, each.customers) for each in counted.changes],
        customers_affected=counted.affected.count,
        notices=applied.notices,
    )


def migrations_from_proto(
    migration: types_pb2.Migration.ValueType,
    plan_migrations: Mapping[str, types_pb2.Migration.ValueType],
) -> MigrationChoice:
    """Return how to move to new plan versions. Raises InvalidArgumentError."""
    return MigrationChoice(
        enum_from_proto("migration", MIGRATIONS, migration) if migration else Migration.NOW,
        {
            plan: enum_from_proto("plan_migrations", MIGRATIONS, chosen)
            for plan, chosen in sorted(plan_migrations.items())
        },
    )


def rollback_from_proto(request: admin_service_pb2.RollbackCatalogRequest) -> Rollback:
    """Return the rollback wanted. Raises InvalidArgumentError."""
    return Rollback(
        request.catalog,
        request.version,
        request.expected_version if request.HasField("expected_version") else None,
        migrations_from_proto(request.migration, request.plan_migrations),
    )


def rolled_back_to_proto(
    applied: AppliedCatalog, counted: CountedChanges
) -> admin_service_pb2.RollbackCatalogResponse:
    return admin_service_pb2.RollbackCatalogResponse(
        catalog=applied.catalog,
        version=applied.version,
        changes=[change_to_proto(each.change, each.customers) for each in counted.changes],
        customers_affected=counted.affected.count,
    )


def version_page_to_proto(page: VersionPage) -> admin_service_pb2.ListCatalogVersionsResponse:
    return admin_service_pb2.ListCatalogVersionsResponse(
        versions=[
            admin_service_pb2.CatalogVersion(
                version=past.version,
                applied_at_unix_ms=past.applied_at_ms,
                restores=past.restores or 0,
                made=[version_step_to_proto(plan, step) for plan, step in past.made],
                changes=[change_to_proto(change) for change in past.changes],
            )
            for past in page.versions
        ],
        next_page_token=page.next_page_token,
    )


def summary_to_proto(summary: CatalogSummary) -> admin_service_pb2.CatalogSummary:
    return admin_service_pb2.CatalogSummary(
        catalog=summary.catalog,
        version=summary.version,
        applied_at_unix_ms=summary.applied_at_ms,
        features=summary.features,
        plans=summary.plans,
        add_ons=summary.add_ons,
        customers=summary.customers,
    )


def stored_catalog_to_proto(stored: StoredCatalog) -> admin_service_pb2.GetCatalogResponse:
    return admin_service_pb2.GetCatalogResponse(
        summary=summary_to_proto(stored.summary),
        document=stored.document,
        snapshot=catalog_to_proto(stored.catalog),
    )


def customer_record_to_proto(record: CustomerRecord) -> admin_service_pb2.Customer:
    customer = record.customer
    return admin_service_pb2.Customer(
        id=customer.id,
        name=record.name,
        catalog=customer.catalog,
        status=CUSTOMER_STATUSES[customer.status],
        version=customer.version,
        resources=customer.resources,
        subscriptions=[subscription_to_proto(each) for each in customer.subscriptions],
        overrides=[override_to_proto(each) for each in customer.overrides],
        created_at_unix_ms=record.created_at_ms,
        parent=customer.parent,
    )


def new_customer_from_proto(request: admin_service_pb2.CreateCustomerRequest) -> NewCustomer:
    return NewCustomer(
        request.id,
        request.name,
        request.catalog,
        tuple(request.resources),
        request.plan,
        request.parent,
    )


def wanted_subscription_from_proto(
    request: admin_service_pb2.SetSubscriptionRequest,
) -> WantedSubscription:
    return WantedSubscription(
        customer=request.customer,
        plan=request.plan,
        resource=request.resource,
        plan_version=request.plan_version if request.HasField("plan_version") else None,
        add_ons=tuple(subscribed_add_on_from_proto(add_on) for add_on in request.add_ons),
        anchor_ms=request.anchor_unix_ms if request.HasField("anchor_unix_ms") else None,
        when=change_time_from_proto(request.when),
        trial_days=request.trial_days if request.HasField("trial_days") else None,
        trial_then=request.trial_then if request.HasField("trial_then") else None,
        quantity=request.quantity if request.HasField("quantity") else None,
    )


def change_time_from_proto(when: admin_service_pb2.ChangeTime.ValueType) -> ChangeTime:
    """Return when to change; unspecified is now. Raises InvalidArgumentError."""
    return enum_from_proto("when", CHANGE_TIMES, when) if when else ChangeTime.NOW


def wanted_override_from_proto(request: admin_service_pb2.SetOverrideRequest) -> WantedOverride:
    """Return the override wanted. Raises InvalidArgumentError."""
    if not request.HasField("entitlement"):
        raise InvalidArgumentError("entitlement", "is not set")
    return WantedOverride(
        customer=request.customer,
        entitlement=wanted_entitlement_from_proto("entitlement", request.entitlement),
        resource=request.resource,
        starts_at_ms=(request.starts_at_unix_ms if request.HasField("starts_at_unix_ms") else None),
        expires_at_ms=(
            request.expires_at_unix_ms if request.HasField("expires_at_unix_ms") else None
        ),
    )


def usage_query_from_proto(request: admin_service_pb2.QueryUsageRequest) -> UsageQuery:
    """Return the query. Raises InvalidArgumentError."""
    groups = tuple(
        enum_from_proto(f"group_by[{index}]", USAGE_GROUPS, group)
        for index, group in enumerate(request.group_by)
    )
    query = UsageQuery(
        customer=request.customer,
        resource=request.resource,
        feature=request.feature,
        from_ms=request.from_unix_ms if request.HasField("from_unix_ms") else None,
        to_ms=request.to_unix_ms if request.HasField("to_unix_ms") else None,
        by_dimensions=tuple(request.group_by_dimensions),
        having=tuple(sorted(request.dimensions.items())),
        with_below=request.with_below,
    )
    return replace(query, group_by=groups) if groups else query


def usage_row_to_proto(row: UsageRow) -> admin_service_pb2.UsageRow:
    return admin_service_pb2.UsageRow(
        customer=row.customer,
        resource=row.resource,
        feature=row.feature,
        bucket_start_unix_ms=row.bucket_start_ms,
        amount=row.amount,
        calls=row.calls,
        dimensions=dict(row.dimensions),
    )
