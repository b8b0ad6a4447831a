"""Catalogs and customers, as sidecars get them."""

from __future__ import annotations

from control_plane.wire.credits import (
    credit_grant_to_proto,
    credit_type_to_proto,
    top_up_to_proto,
)
from control_plane.wire.entitlements import entitlement_to_proto
from control_plane.wire.enums import (
    CONSISTENCIES,
    CUSTOMER_STATUSES,
    ENFORCEMENTS,
    EXCESS_KINDS,
    FEATURE_TYPES,
    LOST_LEASES,
    METERS,
    MIGRATIONS,
    OUTAGE_KINDS,
    SUBSCRIPTION_STATUSES,
)
from control_plane.wire.partners import partner_app_to_proto
from control_plane.wire.prices import currency_to_proto, price_to_proto
from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Customer,
    Feature,
    Override,
    PlanVersion,
    SubscribedAddOn,
    Subscription,
    Trial,
    UpgradeOffer,
    VersionStep,
)
from weighbridge.v1 import sync_service_pb2, types_pb2


def feature_to_proto(feature: Feature) -> sync_service_pb2.Feature:
    return sync_service_pb2.Feature(
        id=feature.id,
        name=feature.name,
        type=FEATURE_TYPES[feature.type],
        unit=feature.unit,
        values=feature.values,
        outage_policy=OUTAGE_KINDS[feature.outage.kind],
        safe_capacity=feature.outage.capacity,
        enforcement=ENFORCEMENTS[feature.enforcement],
        consistency=CONSISTENCIES[feature.consistency],
        meter=METERS[feature.meter],
        excess=EXCESS_KINDS[feature.excess.kind],
        overdraft_max=feature.excess.units_max,
        spend_currency=currency_to_proto(feature.spend.currency) if feature.spend else None,
        spend_features=feature.spend.features if feature.spend else (),
        lost_lease=LOST_LEASES[feature.lost_lease],
    )


def upgrade_offer_to_proto(offer: UpgradeOffer) -> types_pb2.UpgradeOffer:
    return types_pb2.UpgradeOffer(message=offer.message, url=offer.url)


def trial_to_proto(trial: Trial | None) -> sync_service_pb2.Trial | None:
    return None if trial is None else sync_service_pb2.Trial(days=trial.days, then=trial.then)


def plan_version_to_proto(plan: PlanVersion) -> sync_service_pb2.PlanVersion:
    return sync_service_pb2.PlanVersion(
        plan=plan.plan,
        version=plan.version,
        name=plan.name,
        entitlements=[entitlement_to_proto(granted) for granted in plan.entitlements.values()],
        upgrades_to=plan.upgrades_to,
        offer=upgrade_offer_to_proto(plan.offer),
        trial=trial_to_proto(plan.trial),
        credit_grants=[credit_grant_to_proto(grant) for grant in plan.credit_grants],
        top_ups=[top_up_to_proto(top_up) for top_up in plan.top_ups],
        prices=[price_to_proto(price) for price in plan.prices],
    )


def add_on_to_proto(add_on: AddOn) -> sync_service_pb2.AddOn:
    return sync_service_pb2.AddOn(
        id=add_on.id,
        name=add_on.name,
        entitlements=[entitlement_to_proto(granted) for granted in add_on.entitlements.values()],
        plans=add_on.plans,
        offer=upgrade_offer_to_proto(add_on.offer),
        credit_grants=[credit_grant_to_proto(grant) for grant in add_on.credit_grants],
        prices=[price_to_proto(price) for price in add_on.prices],
    )


def version_step_to_proto(plan: str, step: VersionStep) -> sync_service_pb2.VersionStep:
    return sync_service_pb2.VersionStep(
        plan=plan,
        version=step.version,
        since_unix_ms=step.since_ms,
        migration=MIGRATIONS[step.migration],
    )


def catalog_to_proto(catalog: Catalog) -> sync_service_pb2.CatalogSnapshot:
    return sync_service_pb2.CatalogSnapshot(
        catalog=catalog.id,
        version=catalog.version,
        features=[feature_to_proto(feature) for feature in catalog.features.values()],
        plans=[
            plan_version_to_proto(plan)
            for versions in catalog.plans.values()
            for plan in versions.values()
        ],
        add_ons=[add_on_to_proto(add_on) for add_on in catalog.add_ons.values()],
        steps=[
            version_step_to_proto(plan, step)
            for plan, steps in catalog.steps.items()
            for step in steps
        ],
        addition=catalog.addition,
        default_plan=catalog.default_plan,
        credit_types=[credit_type_to_proto(each) for each in catalog.credit_types.values()],
        partner_apps=[partner_app_to_proto(each) for each in catalog.partner_apps.values()],
    )


def subscribed_add_on_to_proto(add_on: SubscribedAddOn) -> sync_service_pb2.SubscribedAddOn:
    return sync_service_pb2.SubscribedAddOn(add_on=add_on.add_on, quantity=add_on.quantity)


def subscribed_add_on_from_proto(add_on: sync_service_pb2.SubscribedAddOn) -> SubscribedAddOn:
    return SubscribedAddOn(add_on.add_on, add_on.quantity)


def subscription_to_proto(subscription: Subscription) -> sync_service_pb2.Subscription:
    return sync_service_pb2.Subscription(
        id=subscription.id,
        resource=subscription.resource,
        plan=subscription.plan,
        plan_version=subscription.plan_version,
        add_ons=[subscribed_add_on_to_proto(add_on) for add_on in subscription.add_ons],
        status=SUBSCRIPTION_STATUSES[subscription.status],
        anchor_unix_ms=subscription.anchor_ms,
        starts_at_unix_ms=subscription.starts_at_ms,
        ends_at_unix_ms=subscription.ends_at_ms,
        on_plan_since_unix_ms=subscription.on_plan_since_ms,
        status_until_unix_ms=subscription.status_until_ms,
        is_trial=subscription.is_trial,
        quantity=subscription.quantity,
    )


def override_to_proto(override: Override) -> sync_service_pb2.Override:
    return sync_service_pb2.Override(
        id=override.id,
        resource=override.resource,
        entitlement=entitlement_to_proto(override.entitlement),
        starts_at_unix_ms=override.starts_at_ms,
        expires_at_unix_ms=override.expires_at_ms,
    )


def customer_to_proto(customer: Customer) -> sync_service_pb2.CustomerSnapshot:
    """Return the customer's snapshot; totals are added by whoever sends it."""
    return sync_service_pb2.CustomerSnapshot(
        customer=customer.id,
        version=customer.version,
        status=CUSTOMER_STATUSES[customer.status],
        catalog=customer.catalog,
        catalog_version_min=customer.catalog_version_min,
        catalog_addition_min=customer.catalog_addition_min,
        resources=customer.resources,
        subscriptions=[subscription_to_proto(s) for s in customer.subscriptions],
        overrides=[override_to_proto(o) for o in customer.overrides],
        parent=customer.parent,
    )
