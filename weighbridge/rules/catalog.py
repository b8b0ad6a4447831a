"""The catalog: features, plan versions and add-ons; and the customers who are on them.

Immutable values, the same in both processes. What they grant is worked out in `entitlement`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from weighbridge.rules.credits import CreditGrant, CreditType, TopUp
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.rate import Rate
from weighbridge.rules.rating.prices import Price, Proration
from weighbridge.rules.reservation import OVERDRAFT, ExcessPolicy
from weighbridge.rules.revenue_share import RevenueShare
from weighbridge.rules.spend import Spend
from weighbridge.rules.thresholds import NOTIFY_AT
from weighbridge.rules.window import Window


class FeatureType(Enum):
    """What a feature is measured in."""

    BOOLEAN = "boolean"
    NUMBER = "number"
    ENUM = "enum"
    METERED = "metered"


class LimitKind(Enum):
    """What happens past a limit: hard refuses, soft counts overage."""

    HARD = "hard"
    SOFT = "soft"


class Meter(Enum):
    """What is counted of a metered feature: what was used, what is held now, or what it costs."""

    SUM = "sum"
    ALLOCATION = "allocation"
    SPEND = "spend"


class OutageKind(Enum):
    """What is answered for metered usage while the control plane is away."""

    DENY = "deny"
    ALLOW = "allow"
    LAST_KNOWN = "last_known"
    SAFE_CAPACITY = "safe_capacity"
    LEASED = "leased"


class Enforcement(Enum):
    """Whether what the catalog says of a feature refuses calls, or only says that it would."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class CustomerStatus(Enum):
    """Whether a customer is served."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    REVOKED = "revoked"


class SubscriptionStatus(Enum):
    """Whether a subscription grants anything: see `Subscription.is_active`."""

    ACTIVE = "active"
    CANCELED = "canceled"
    PAUSED = "paused"
    PAST_DUE = "past_due"


class Migration(Enum):
    """When those who follow a plan, and were on it before, move to a new version of it."""

    NOW = "now"
    AT_PERIOD_END = "at_period_end"
    NEW_CUSTOMERS = "new_customers"


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """The outage policy of a feature. `capacity` is in the feature's unit, for SAFE_CAPACITY."""

    kind: OutageKind = OutageKind.LAST_KNOWN
    capacity: int = 0


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that plans grant. With `spend`, its units are micros of money."""

    id: str
    type: FeatureType
    name: str = ""
    unit: str = ""
    values: tuple[str, ...] = ()
    outage: OutagePolicy = OutagePolicy()
    enforcement: Enforcement = Enforcement.ENFORCE
    consistency: Consistency = Consistency.CACHED
    meter: Meter = Meter.SUM
    excess: ExcessPolicy = OVERDRAFT
    notify_at: tuple[int, ...] = NOTIFY_AT
    lost_lease: LostLease = LostLease.CHARGE
    spend: Spend | None = None

    @property
    def is_allocation(self) -> bool:
        """Whether its units are acquired and released."""
        return self.meter is Meter.ALLOCATION

    @property
    def is_leased(self) -> bool:
        """Whether units of its hard limits are leased before they are spent."""
        return (
            self.consistency is not Consistency.CACHED and self.enforcement is Enforcement.ENFORCE
        )

    @property
    def is_authoritative(self) -> bool:
        """Whether units of its hard limits are leased to single calls, and none are kept."""
        return self.consistency is Consistency.AUTHORITATIVE

    def takes(self, entitlement: Entitlement) -> bool:
        """Whether an entitlement is of this feature's type, and of values it has."""
        match self.type:
            case FeatureType.METERED:
                return entitlement.number is None and not entitlement.values
            case FeatureType.ENUM:
                return bool(entitlement.values) and set(entitlement.values) <= set(self.values)
            case FeatureType.NUMBER:
                return not entitlement.limits and not entitlement.values
            case FeatureType.BOOLEAN:
                is_numbered = entitlement.number is not None
                return not is_numbered and not entitlement.values and not entitlement.limits


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `limit` units in each window; None is unlimited. `per_seat`: of each seat."""

    id: str
    kind: LimitKind
    limit: int | None
    window: Window
    per_seat: bool = False


class CreditDraw(NamedTuple):
    """The credit type that pays for usage of a feature; a soft draw goes on past the balance."""

    credit_type: str
    kind: LimitKind = LimitKind.HARD


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a plan, an add-on or an override grants on one feature.

    `number` belongs to number features, `values` to enum features, `limits` and `rates` to
    metered ones; a metered entitlement without limits has no limit on what is used in all, and
    one without rates none on how fast; with `credit`, usage is paid with credits. Not `enabled`
    takes the feature away.
    """

    feature: str
    enabled: bool = True
    number: int | None = None
    values: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    rates: tuple[Rate, ...] = ()
    credit: CreditDraw | None = None


@dataclass(frozen=True, slots=True)
class UpgradeOffer:
    """What to show someone who was refused."""

    message: str = ""
    url: str = ""


class Trial(NamedTuple):
    """How long a plan can be tried, and the plan that follows; "": none."""

    days: int
    then: str = ""


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """A plan as one catalog version had it, inheritance resolved.

    `prices` are in one or more currencies; a subscription pays those in its own.
    """

    plan: str
    version: int
    name: str
    entitlements: Mapping[str, Entitlement]
    upgrades_to: tuple[str, ...] = ()
    offer: UpgradeOffer = UpgradeOffer()
    prices: tuple[Price, ...] = ()
    proration: Proration = Proration.TIME
    trial: Trial | None = None
    credit_grants: tuple[CreditGrant, ...] = ()
    top_ups: tuple[TopUp, ...] = ()


class VersionStep(NamedTuple):
    """A version of a plan that came at an instant, and how those on the plan move to it."""

    version: int
    since_ms: int
    migration: Migration = Migration.NOW


class Edition(NamedTuple):
    """Which content of a catalog this is: a higher one has all that a lower one has.

    Within a version, `addition` counts how often older plan versions were added to it, because
    somebody is on them again.
    """

    version: int = 0
    addition: int = 0


@dataclass(frozen=True, slots=True)
class AddOn:
    """Something bought on top of a plan; for any plan where `plans` is empty."""

    id: str
    name: str
    entitlements: Mapping[str, Entitlement]
    plans: tuple[str, ...] = ()
    offer: UpgradeOffer = UpgradeOffer()
    prices: tuple[Price, ...] = ()
    credit_grants: tuple[CreditGrant, ...] = ()

    def suits(self, plan: str) -> bool:
        """Whether it can be added to the plan."""
        return not self.plans or plan in self.plans


class PartnerQuota(NamedTuple):
    """What a partner app may use of a metered feature: of each customer, and of all together."""

    per_customer: tuple[Limit, ...] = ()
    total: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class PartnerApp:
    """An app of a partner: the features it may use, how much of them, and how money is shared."""

    id: str
    name: str = ""
    permissions: tuple[str, ...] = ()
    quotas: Mapping[str, PartnerQuota] = field(default_factory=dict)
    shares: tuple[RevenueShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """One immutable version of a catalog.

    `plans` maps a plan's id to its versions, by version number. `steps` has, oldest first, the
    versions of a plan that those who follow it may still be on; a plan without: all are on its
    newest. `default_plan` is for customers nobody provisioned; "": they are unknown.
    """

    id: str
    version: int
    features: Mapping[str, Feature]
    plans: Mapping[str, Mapping[int, PlanVersion]]
    add_ons: Mapping[str, AddOn] = field(default_factory=dict)
    steps: Mapping[str, tuple[VersionStep, ...]] = field(default_factory=dict)
    addition: int = 0
    default_plan: str = ""
    credit_types: Mapping[str, CreditType] = field(default_factory=dict)
    partner_apps: Mapping[str, PartnerApp] = field(default_factory=dict)

    @property
    def edition(self) -> Edition:
        """Which content this is."""
        return Edition(self.version, self.addition)

    def plan(self, plan: str, version: int | None = None) -> PlanVersion | None:
        """Return that version of the plan, else its newest; None where it is not here."""
        versions = self.plans.get(plan)
        if not versions:
            return None
        return versions.get(max(versions) if version is None else version)


@dataclass(frozen=True, slots=True)
class SubscribedAddOn:
    """An add-on and how many of it."""

    add_on: str
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class Subscription:
    """A plan that a customer (resource "") or a resource is on, from start until before end.

    It keeps `plan_version`; without one it follows the plan. `on_plan_since_ms` says since when,
    without regard to changes of add-ons: else since the start. `status_until_ms` ends a pause, or
    the grace of one that is past due; without it neither ends by itself. `quantity` counts seats.
    """

    id: str
    resource: str
    plan: str
    plan_version: int | None
    add_ons: tuple[SubscribedAddOn, ...]
    status: SubscriptionStatus
    anchor_ms: int
    starts_at_ms: int
    ends_at_ms: int | None = None
    on_plan_since_ms: int | None = None
    status_until_ms: int | None = None
    is_trial: bool = False
    quantity: int = 1

    @property
    def since_ms(self) -> int:
        """Since when the plan is followed."""
        return self.starts_at_ms if self.on_plan_since_ms is None else self.on_plan_since_ms

    def is_active(self, at_ms: int) -> bool:
        """Whether it grants anything at that instant."""
        return (
            self.starts_at_ms <= at_ms
            and (self.ends_at_ms is None or at_ms < self.ends_at_ms)
            and self._is_served(at_ms)
        )

    def _is_served(self, at_ms: int) -> bool:
        is_over = self.status_until_ms is not None and at_ms >= self.status_until_ms
        match self.status:
            case SubscriptionStatus.ACTIVE:
                return True
            case SubscriptionStatus.CANCELED:
                return False
            case SubscriptionStatus.PAUSED:
                return is_over
            case SubscriptionStatus.PAST_DUE:
                return not is_over


@dataclass(frozen=True, slots=True)
class Override:
    """A negotiated or promotional entitlement of one customer or resource."""

    id: str
    resource: str
    entitlement: Entitlement
    starts_at_ms: int | None = None
    expires_at_ms: int | None = None

    def is_active(self, at_ms: int) -> bool:
        """Whether it applies at that instant."""
        return (self.starts_at_ms is None or self.starts_at_ms <= at_ms) and (
            self.expires_at_ms is None or at_ms < self.expires_at_ms
        )


@dataclass(frozen=True, slots=True)
class Customer:
    """What is one customer's own, at one version. `parent` names the one it is under."""

    id: str
    version: int
    status: CustomerStatus
    catalog: str
    catalog_version_min: int = 0
    resources: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    overrides: tuple[Override, ...] = ()
    catalog_addition_min: int = 0
    parent: str = ""

    @property
    def edition_min(self) -> Edition:
        """The lowest edition of its catalog that has all this names."""
        return Edition(self.catalog_version_min, self.catalog_addition_min)
