"""Catalogs, customers and totals, as the control plane sends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sidecar.core.book import FeatureKey
from sidecar.core.usage import PushedTotal
from sidecar.wire.credits import (
    credit_grants_from_proto,
    credit_types_from_proto,
    top_ups_from_proto,
)
from sidecar.wire.known import known
from sidecar.wire.partners import partner_apps_from_proto
from sidecar.wire.prices import PERIODS, currency_from_proto, prices_from_proto
from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    CreditDraw,
    Customer,
    CustomerStatus,
    Enforcement,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    Meter,
    Migration,
    OutageKind,
    OutagePolicy,
    Override,
    PlanVersion,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
    Trial,
    UpgradeOffer,
    VersionStep,
)
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.rate import Rate, RatePeriod, RateScope
from weighbridge.rules.reservation import ExcessKind, ExcessPolicy
from weighbridge.rules.spend import Spend
from weighbridge.rules.window import MOVING_KINDS, Window, WindowKind, length_problem
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

FEATURE_TYPES: Final[Mapping[int, FeatureType]] = {
    pb.FEATURE_TYPE_BOOLEAN: FeatureType.BOOLEAN,
    pb.FEATURE_TYPE_NUMBER: FeatureType.NUMBER,
    pb.FEATURE_TYPE_ENUM: FeatureType.ENUM,
    pb.FEATURE_TYPE_METERED: FeatureType.METERED,
}
LIMIT_KINDS: Final[Mapping[int, LimitKind]] = {
    pb.LIMIT_KIND_HARD: LimitKind.HARD,
    pb.LIMIT_KIND_SOFT: LimitKind.SOFT,
}
WINDOW_KINDS: Final[Mapping[int, WindowKind]] = {
    pb.WINDOW_KIND_CALENDAR: WindowKind.CALENDAR,
    pb.WINDOW_KIND_ANNIVERSARY: WindowKind.ANNIVERSARY,
    pb.WINDOW_KIND_LIFETIME: WindowKind.LIFETIME,
    pb.WINDOW_KIND_ROLLING: WindowKind.ROLLING,
    pb.WINDOW_KIND_SESSION: WindowKind.SESSION,
}
_OUTAGE_KINDS: Final[Mapping[int, OutageKind]] = {
    pb.OUTAGE_POLICY_KIND_DENY: OutageKind.DENY,
    pb.OUTAGE_POLICY_KIND_ALLOW: OutageKind.ALLOW,
    pb.OUTAGE_POLICY_KIND_LAST_KNOWN: OutageKind.LAST_KNOWN,
    pb.OUTAGE_POLICY_KIND_SAFE_CAPACITY: OutageKind.SAFE_CAPACITY,
    pb.OUTAGE_POLICY_KIND_LEASED: OutageKind.LEASED,
}
_CONSISTENCIES: Final[Mapping[int, Consistency]] = {
    # A control plane that does not say grants no leases.
    pb.CONSISTENCY_UNSPECIFIED: Consistency.CACHED,
    pb.CONSISTENCY_CACHED: Consistency.CACHED,
    pb.CONSISTENCY_LEASED: Consistency.LEASED,
    pb.CONSISTENCY_AUTHORITATIVE: Consistency.AUTHORITATIVE,
}
_LOST_LEASES: Final[Mapping[int, LostLease]] = {
    # A control plane that does not say gives lost units to nobody.
    pb.LOST_LEASE_UNSPECIFIED: LostLease.CHARGE,
    pb.LOST_LEASE_CHARGE: LostLease.CHARGE,
    pb.LOST_LEASE_RELEASE: LostLease.RELEASE,
}
_ENFORCEMENTS: Final[Mapping[int, Enforcement]] = {
    # A control plane that does not say enforces.
    pb.ENFORCEMENT_UNSPECIFIED: Enforcement.ENFORCE,
    pb.ENFORCEMENT_ENFORCE: Enforcement.ENFORCE,
    pb.ENFORCEMENT_OBSERVE: Enforcement.OBSERVE,
}
_EXCESS_KINDS: Final[Mapping[int, ExcessKind]] = {
    # A control plane that does not say lets everything be charged.
    pb.EXCESS_POLICY_KIND_UNSPECIFIED: ExcessKind.OVERDRAFT,
    pb.EXCESS_POLICY_KIND_REJECT: ExcessKind.REJECT,
    pb.EXCESS_POLICY_KIND_TAKE_AVAILABLE: ExcessKind.TAKE_AVAILABLE,
    pb.EXCESS_POLICY_KIND_OVERDRAFT: ExcessKind.OVERDRAFT,
}
_METERS: Final[Mapping[int, Meter]] = {
    # A control plane that does not say sums.
    pb.METER_UNSPECIFIED: Meter.SUM,
    pb.METER_SUM: Meter.SUM,
    pb.METER_ALLOCATION: Meter.ALLOCATION,
    pb.METER_SPEND: Meter.SPEND,
}
_RATE_SCOPES: Final[Mapping[int, RateScope]] = {
    # A control plane that does not say knows no other.
    pb.RATE_SCOPE_UNSPECIFIED: RateScope.SIDECAR,
    pb.RATE_SCOPE_SIDECAR: RateScope.SIDECAR,
    pb.RATE_SCOPE_FLEET: RateScope.FLEET,
}
_RATE_PERIODS: Final[Mapping[int, RatePeriod]] = {
    pb.RATE_PERIOD_SECOND: RatePeriod.SECOND,
    pb.RATE_PERIOD_MINUTE: RatePeriod.MINUTE,
    pb.RATE_PERIOD_HOUR: RatePeriod.HOUR,
}
_CUSTOMER_STATUSES: Final[Mapping[int, CustomerStatus]] = {
    pb.CUSTOMER_STATUS_ACTIVE: CustomerStatus.ACTIVE,
    pb.CUSTOMER_STATUS_ARCHIVED: CustomerStatus.ARCHIVED,
    pb.CUSTOMER_STATUS_REVOKED: CustomerStatus.REVOKED,
}
_SUBSCRIPTION_STATUSES: Final[Mapping[int, SubscriptionStatus]] = {
    pb.SUBSCRIPTION_STATUS_ACTIVE: SubscriptionStatus.ACTIVE,
    pb.SUBSCRIPTION_STATUS_CANCELED: SubscriptionStatus.CANCELED,
    pb.SUBSCRIPTION_STATUS_PAUSED: SubscriptionStatus.PAUSED,
    pb.SUBSCRIPTION_STATUS_PAST_DUE: SubscriptionStatus.PAST_DUE,
}


_MIGRATIONS: Final[Mapping[int, Migration]] = {
    pb.MIGRATION_NOW: Migration.NOW,
    pb.MIGRATION_AT_PERIOD_END: Migration.AT_PERIOD_END,
    pb.MIGRATION_NEW_CUSTOMERS: Migration.NEW_CUSTOMERS,
}


class SnapshotReader:
    """Reads snapshots. What many of them repeat (windows, add-on lists) is made once and shared.

    Everything raises InvalidArgumentError naming the field where a message cannot be understood,
    such as one from a newer control plane.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[int, int, str, int], Window] = {}
        self._shared: dict[tuple[SubscribedAddOn, ...], tuple[SubscribedAddOn, ...]] = {}
        self._names: dict[str, str] = {}

    def catalog_from_proto(self, message: sync_pb.CatalogSnapshot) -> Catalog:
        """Return the catalog version."""
        plans: dict[str, dict[int, PlanVersion]] = {}
        for plan in message.plans:
            plans.setdefault(plan.plan, {})[plan.version] = self._plan_from_proto(plan)
        steps: dict[str, tuple[VersionStep, ...]] = {}
        for step in message.steps:
            steps[step.plan] = (*steps.get(step.plan, ()), _step_from_proto(step))
        return Catalog(
            id=message.catalog,
            version=message.version,
            features={feature.id: feature_from_proto(feature) for feature in message.features},
            plans=plans,
            add_ons={add_on.id: self._add_on_from_proto(add_on) for add_on in message.add_ons},
            steps=steps,
            addition=message.addition,
            default_plan=message.default_plan,
            credit_types=credit_types_from_proto(message.credit_types),
            partner_apps=partner_apps_from_proto(
                message.partner_apps, self._limit_from_proto, self._window_from_proto
            ),
        )

    def customer_from_proto(self, message: sync_pb.CustomerSnapshot) -> Customer:
        """Return the customer, without totals."""
        return Customer(
            id=message.customer,
            version=message.version,
            status=known(_CUSTOMER_STATUSES, message.status, "status"),
            catalog=self._name(message.catalog),
            catalog_version_min=message.catalog_version_min,
            catalog_addition_min=message.catalog_addition_min,
            resources=tuple(message.resources),
            subscriptions=tuple(self._subscription_from_proto(s) for s in message.subscriptions),
            overrides=tuple(self._override_from_proto(o) for o in message.overrides),
            parent=self._name(message.parent),
        )

    def totals_from_proto(
        self, totals: Iterable[sync_pb.WindowTotal]
    ) -> dict[FeatureKey, list[PushedTotal]]:
        """Return totals by resource and feature."""
        read: dict[FeatureKey, list[PushedTotal]] = {}
        for total in totals:
            window_key = self._window_from_proto(total.window).key
            pushed = PushedTotal(window_key, total.window_start_unix_ms, total.total)
            read.setdefault((total.resource, self._name(total.feature)), []).append(pushed)
        return read

    def _plan_from_proto(self, message: sync_pb.PlanVersion) -> PlanVersion:
        return PlanVersion(
            plan=message.plan,
            version=message.version,
            name=message.name,
            entitlements=self._entitlements_from_proto(message.entitlements),
            upgrades_to=tuple(message.upgrades_to),
            offer=_offer_from_proto(message.offer),
            trial=(
                Trial(message.trial.days, message.trial.then) if message.HasField("trial") else None
            ),
            credit_grants=credit_grants_from_proto(message.credit_grants, self._window_from_proto),
            top_ups=top_ups_from_proto(message.top_ups),
            prices=prices_from_proto(message.prices),
        )

    def _add_on_from_proto(self, message: sync_pb.AddOn) -> AddOn:
        return AddOn(
            id=message.id,
            name=message.name,
            entitlements=self._entitlements_from_proto(message.entitlements),
            plans=tuple(message.plans),
            offer=_offer_from_proto(message.offer),
            credit_grants=credit_grants_from_proto(message.credit_grants, self._window_from_proto),
            prices=prices_from_proto(message.prices),
        )

    def _entitlements_from_proto(
        self, messages: Iterable[pb.Entitlement]
    ) -> dict[str, Entitlement]:
        return {message.feature: self._entitlement_from_proto(message) for message in messages}

    def _entitlement_from_proto(self, message: pb.Entitlement) -> Entitlement:
        return Entitlement(
            feature=self._name(message.feature),
            enabled=message.enabled,
            number=message.number if message.HasField("number") else None,
            values=tuple(message.values),
            limits=tuple(self._limit_from_proto(limit) for limit in message.limits),
            rates=tuple(_rate_from_proto(rate) for rate in message.rates),
            credit=_draw_from_proto(message.credits) if message.HasField("credits") else None,
        )

    def _limit_from_proto(self, message: pb.Limit) -> Limit:
        return Limit(
            id=message.id,
            kind=known(LIMIT_KINDS, message.kind, "limits.kind"),
            limit=message.limit if message.HasField("limit") else None,
            window=self._window_from_proto(message.window),
            per_seat=message.per_seat,
        )

    def _window_from_proto(self, message: pb.Window) -> Window:
        key = (message.kind, message.period, message.time_zone, message.length_ms)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _make_window(message)
        return window

    def _subscription_from_proto(self, message: sync_pb.Subscription) -> Subscription:
        add_ons = tuple(SubscribedAddOn(a.add_on, a.quantity) for a in message.add_ons)
        return Subscription(
            id=message.id,
            resource=message.resource,
            plan=self._name(message.plan),
            plan_version=message.plan_version if message.HasField("plan_version") else None,
            add_ons=self._shared.setdefault(add_ons, add_ons),
            status=known(_SUBSCRIPTION_STATUSES, message.status, "subscriptions.status"),
            anchor_ms=message.anchor_unix_ms,
            starts_at_ms=message.starts_at_unix_ms,
            ends_at_ms=message.ends_at_unix_ms if message.HasField("ends_at_unix_ms") else None,
            on_plan_since_ms=(
                message.on_plan_since_unix_ms if message.HasField("on_plan_since_unix_ms") else None
            ),
            status_until_ms=(
                message.status_until_unix_ms if message.HasField("status_until_unix_ms") else None
            ),
            is_trial=message.is_trial,
            quantity=max(message.quantity, 1),
        )

    def _override_from_proto(self, message: sync_pb.Override) -> Override:
        starts = message.starts_at_unix_ms if message.HasField("starts_at_unix_ms") else None
        expires = message.expires_at_unix_ms if message.HasField("expires_at_unix_ms") else None
        return Override(
            id=message.id,
            resource=message.resource,
            entitlement=self._entitlement_from_proto(message.entitlement),
            starts_at_ms=starts,
            expires_at_ms=expires,
        )

    def _name(self, text: str) -> str:
        return self._names.setdefault(text, text)


def feature_from_proto(message: sync_pb.Feature) -> Feature:
    """Return the feature."""
    return Feature(
        id=message.id,
        type=known(FEATURE_TYPES, message.type, "features.type"),
        name=message.name,
        unit=message.unit,
        values=tuple(message.values),
        outage=OutagePolicy(
            known(_OUTAGE_KINDS, message.outage_policy, "features.outage_policy"),
            message.safe_capacity,
        ),
        enforcement=known(_ENFORCEMENTS, message.enforcement, "features.enforcement"),
        consistency=known(_CONSISTENCIES, message.consistency, "features.consistency"),
        meter=known(_METERS, message.meter, "features.meter"),
        excess=ExcessPolicy(
            known(_EXCESS_KINDS, message.excess, "features.excess"),
            message.overdraft_max if message.HasField("overdraft_max") else None,
        ),
        spend=_spend_from_proto(message),
        lost_lease=known(_LOST_LEASES, message.lost_lease, "features.lost_lease"),
    )


def _spend_from_proto(message: sync_pb.Feature) -> Spend | None:
    if not message.HasField("spend_currency"):
        return None
    return Spend(currency_from_proto(message.spend_currency), tuple(message.spend_features))


def _rate_from_proto(message: pb.Rate) -> Rate:
    return Rate(
        id=message.id,
        limit=message.limit,
        period=known(_RATE_PERIODS, message.period, "rates.period"),
        scope=known(_RATE_SCOPES, message.scope, "rates.scope"),
        burst=message.burst if message.HasField("burst") else message.limit,
    )


def _draw_from_proto(message: pb.CreditDraw) -> CreditDraw:
    return CreditDraw(message.credit_type, known(LIMIT_KINDS, message.kind, "credits.kind"))


def _step_from_proto(message: sync_pb.VersionStep) -> VersionStep:
    migration = known(_MIGRATIONS, message.migration, "steps.migration")
    return VersionStep(message.version, message.since_unix_ms, migration)


def _make_window(message: pb.Window) -> Window:
    kind = known(WINDOW_KINDS, message.kind, "window.kind")
    if kind is WindowKind.LIFETIME:
        return Window(kind)
    if kind in MOVING_KINDS:
        problem = length_problem(message.length_ms)
        if problem is not None:
            raise InvalidArgumentError("window.length_ms", f"{message.length_ms} {problem}")
        return Window(kind, length_ms=message.length_ms)
    name = message.time_zone or "UTC"
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidArgumentError("window.time_zone", f"{name!r} is not known here") from error
    return Window(kind, known(PERIODS, message.period, "window.period"), name, zone)


def _offer_from_proto(message: pb.UpgradeOffer) -> UpgradeOffer:
    return UpgradeOffer(message.message, message.url)
