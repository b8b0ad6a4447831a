"""The catalog: features, plan versions and add-ons; and the customers who are on them.

Immutable values, the same in both processes. What they grant is worked out in `entitlement`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from weighbridge.rules.rate import Rate
from weighbridge.rules.rating.prices import Price, Proration
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


class OutageKind(Enum):
    """What is answered for metered usage while the control plane is away."""

    DENY = "deny"
    ALLOW = "allow"
    LAST_KNOWN = "last_known"
    SAFE_CAPACITY = "safe_capacity"


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
    """Whether a subscription grants anything."""

    ACTIVE = "active"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """The outage policy of a feature. `capacity` is in the feature's unit, for SAFE_CAPACITY."""

    kind: OutageKind = OutageKind.LAST_KNOWN
    capacity: int = 0


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that plans grant."""

    id: str
    type: FeatureType
    name: str = ""
    unit: str = ""
    values: tuple[str, ...] = ()
    outage: OutagePolicy = OutagePolicy()
    enforcement: Enforcement = Enforcement.ENFORCE


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `limit` units in each window; None is unlimited."""

    id: str
    kind: LimitKind
    limit: int | None
    window: Window


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a plan, an add-on or an override grants on one feature.

    `number` belongs to number features, `values` to enum features, `limits` and `rates` to
    metered ones; a metered entitlement without limits has no limit on what is used in all, and
    one without rates none on how fast. Not `enabled` takes the feature away.
    """

    feature: str
    enabled: bool = True
    number: int | None = None
    values: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    rates: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True)
class UpgradeOffer:
    """What to show someone who was refused."""

    message: str = ""
    url: str = ""


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


@dataclass(frozen=True, slots=True)
class AddOn:
    """Something bought on top of a plan; for any plan where `plans` is empty."""

    id: str
    name: str
    entitlements: Mapping[str, Entitlement]
    plans: tuple[str, ...] = ()
    offer: UpgradeOffer = UpgradeOffer()
    prices: tuple[Price, ...] = ()

    def suits(self, plan: str) -> bool:
        """Whether it can be added to the plan."""
        return not self.plans or plan in self.plans


@dataclass(frozen=True, slots=True)
class Catalog:
    """One immutable version of a catalog.

    `plans` maps a plan's id to its versions, by version number.
    """

    id: str
    version: int
    features: Mapping[str, Feature]
    plans: Mapping[str, Mapping[int, PlanVersion]]
    add_ons: Mapping[str, AddOn] = field(default_factory=dict)

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
    """A plan that a customer (resource "") or a resource is on, from start until before end."""

    id: str
    resource: str
    plan: str
    plan_version: int | None
    add_ons: tuple[SubscribedAddOn, ...]
    status: SubscriptionStatus
    anchor_ms: int
    starts_at_ms: int
    ends_at_ms: int | None = None

    def is_active(self, at_ms: int) -> bool:
        """Whether it grants anything at that instant."""
        return (
            self.status is SubscriptionStatus.ACTIVE
            and self.starts_at_ms <= at_ms
            and (self.ends_at_ms is None or at_ms < self.ends_at_ms)
        )


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
    """What is one customer's own, at one version."""

    id: str
    version: int
    status: CustomerStatus
    catalog: str
    catalog_version_min: int = 0
    resources: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    overrides: tuple[Override, ...] = ()
