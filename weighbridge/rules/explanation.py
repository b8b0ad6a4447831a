"""Why a customer has what it has on one feature: step by step, with the functions that decide it.

Steps are in order, those of the customer first and then those of each customer above it, nearest
first. Each names whose it is and what the feature's entitlement is after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from weighbridge.rules.catalog import (
    Catalog,
    Customer,
    CustomerStatus,
    Entitlement,
    Override,
    Subscription,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.entitlement import PlanCompiler, for_seats, with_add_ons, with_overrides
from weighbridge.rules.granting import (
    Bounded,
    Grant,
    Level,
    NoGrant,
    bounded,
    grant_of,
    level_of,
    lineage,
)
from weighbridge.rules.lifecycle import plan_at


class StepKind(Enum):
    """What a step is about."""

    REFUSED = "refused"
    NO_SUBSCRIPTION = "no_subscription"
    INHERITED = "inherited"
    PLAN = "plan"
    SEATS = "seats"
    ADD_ON = "add_on"
    OVERRIDE = "override"
    BOUND = "bound"


class VersionChoice(Enum):
    """Why a subscription is on the version of its plan that it is on."""

    KEPT = "kept"
    NEWEST = "newest"
    WAITS = "waits"
    LEFT_BEHIND = "left_behind"


class Timing(Enum):
    """Whether an override applies."""

    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the answer. What does not belong to its kind is None, or empty.

    `entitlement` is what the customer named has on the feature after it; None: nothing. `reason`
    belongs to REFUSED and NO_SUBSCRIPTION, `ancestor` to INHERITED. Of a plan that WAITS,
    `changes_at_ms` is when it moves to the next version.
    """

    kind: StepKind
    customer: str
    entitlement: Entitlement | None = None
    reason: Reason | None = None
    subscription: Subscription | None = None
    plan_version: int | None = None
    choice: VersionChoice | None = None
    changes_at_ms: int | None = None
    add_on: str = ""
    quantity: int = 1
    override: Override | None = None
    timing: Timing | None = None
    ancestor: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The steps, and what they come to: the grant, and the feature in it under all above."""

    steps: tuple[Step, ...]
    grant: Grant | NoGrant
    bounds: Bounded

    @property
    def reason(self) -> Reason | None:
        """Why the customer does not have the feature; None: it does."""
        if isinstance(self.grant, NoGrant):
            return self.grant.reason
        return None if self.bounds.entitlement is not None else Reason.FEATURE_NOT_IN_PLAN

    @property
    def limited_by(self) -> str:
        """The ancestor that refuses it or narrows it; "" where none does."""
        if isinstance(self.grant, NoGrant):
            return self.grant.limited_by
        return self.bounds.limited_by


@dataclass(frozen=True, slots=True)
class _Asked:
    compiler: PlanCompiler
    feature: str
    at_ms: int


def explain(
    compiler: PlanCompiler, chain: Sequence[Customer], resource: str, feature: str, at_ms: int
) -> Explanation:
    """Explain a feature of the first of a chain: the customer, its parent, and so on."""
    asked = _Asked(compiler, feature, at_ms)
    customer, *ancestors = chain
    above: Level | None = None
    for ancestor in reversed(ancestors):
        above = level_of(compiler, ancestor, above, at_ms)
    grant = grant_of(compiler, customer, resource, at_ms, above)
    steps = [*_own_steps(asked, customer, resource, grant)]
    for level, ancestor in zip(lineage(above), ancestors, strict=True):
        steps += _steps_above(asked, ancestor, level)
    bounds = Bounded(None) if isinstance(grant, NoGrant) else bounded(grant, feature)
    return Explanation(tuple(steps), grant, bounds)


def _own_steps(
    asked: _Asked, customer: Customer, resource: str, grant: Grant | NoGrant
) -> Iterator[Step]:
    if isinstance(grant, NoGrant):
        is_own = not grant.limited_by or grant.reason is Reason.TRIAL_ENDED
        if is_own:
            kind = _kind_of(customer, resource)
            yield Step(kind, customer.id, reason=grant.reason)
        elif _granted(asked, customer, resource):
            yield from _granted(asked, customer, resource)
        return
    if not grant.inherited_from:
        yield from _granted(asked, customer, resource)
        return
    yield Step(StepKind.NO_SUBSCRIPTION, customer.id, reason=Reason.NO_ACTIVE_SUBSCRIPTION)
    assert grant.above is not None, "who inherits has somebody above"
    inherited = grant.above.handed_down.get(asked.feature)
    yield Step(
        StepKind.INHERITED,
        customer.id,
        inherited,
        subscription=grant.subscription,
        plan_version=grant.plan.version,
        ancestor=grant.inherited_from,
    )
    yield from _overriding(asked, customer, resource, inherited)


def _kind_of(customer: Customer, resource: str) -> StepKind:
    is_served = customer.status is CustomerStatus.ACTIVE
    is_known = not resource or resource in customer.resources
    return StepKind.NO_SUBSCRIPTION if is_served and is_known else StepKind.REFUSED


def _steps_above(asked: _Asked, ancestor: Customer, level: Level) -> Iterator[Step]:
    if level.reason is not None:
        yield Step(StepKind.REFUSED, ancestor.id, reason=level.reason)
        return
    if level.grant is not None:
        yield from _granted(asked, ancestor, "")
    else:
        yield Step(StepKind.NO_SUBSCRIPTION, ancestor.id, reason=Reason.NO_ACTIVE_SUBSCRIPTION)
        yield from _overriding(asked, ancestor, "", None)
    said = level.said(asked.feature)
    if said is not None:
        yield Step(StepKind.BOUND, ancestor.id, said)


def _granted(asked: _Asked, customer: Customer, resource: str) -> list[Step]:
    """Return the steps of a subscription that is active, if there is one."""
    subscription = next(
        (s for s in customer.subscriptions if s.resource == resource and s.is_active(asked.at_ms)),
        None,
    )
    if subscription is None:
        return []
    catalog, feature = asked.compiler.catalog, asked.feature
    plan, moves_at_ms = plan_at(catalog, subscription, asked.at_ms)
    if plan is None:
        return []
    entitlement = plan.entitlements.get(feature)
    steps = [
        Step(
            StepKind.PLAN,
            customer.id,
            entitlement,
            subscription=subscription,
            plan_version=plan.version,
            choice=_choice(catalog, subscription, plan.version, moves_at_ms),
            changes_at_ms=moves_at_ms,
        )
    ]
    has = {} if entitlement is None else {feature: entitlement}
    seated = for_seats(has, subscription.quantity)
    if seated != has:
        steps.append(
            Step(
                StepKind.SEATS,
                customer.id,
                seated.get(feature),
                quantity=subscription.quantity,
            )
        )
    steps += _added(asked, customer, subscription, seated.get(feature))
    steps += _overriding(asked, customer, resource, steps[-1].entitlement)
    return steps


def _choice(
    catalog: Catalog, subscription: Subscription, version: int, moves_at_ms: int | None
) -> VersionChoice:
    if subscription.plan_version is not None:
        return VersionChoice.KEPT
    if moves_at_ms is not None:
        return VersionChoice.WAITS
    newest = max(catalog.plans[subscription.plan])
    return VersionChoice.NEWEST if version == newest else VersionChoice.LEFT_BEHIND


def _added(
    asked: _Asked, customer: Customer, subscription: Subscription, base: Entitlement | None
) -> Iterator[Step]:
    feature = asked.feature
    has = {} if base is None else {feature: base}
    bought = []
    for each in subscription.add_ons:
        add_on = asked.compiler.catalog.add_ons.get(each.add_on)
        if add_on is None or feature not in add_on.entitlements:
            continue
        bought.append((add_on, each.quantity))
        # Always all from the start: add-ons are added to one another first.
        after = with_add_ons(has, bought).get(feature)
        yield Step(StepKind.ADD_ON, customer.id, after, add_on=each.add_on, quantity=each.quantity)


def _overriding(
    asked: _Asked, customer: Customer, resource: str, base: Entitlement | None
) -> Iterator[Step]:
    entitlement = base
    for override in customer.overrides:
        if override.resource != resource or override.entitlement.feature != asked.feature:
            continue
        timing = _timing(override, asked.at_ms)
        if timing is Timing.ACTIVE:
            has = {} if entitlement is None else {asked.feature: entitlement}
            entitlement = with_overrides(has, [override])[asked.feature]
        yield Step(StepKind.OVERRIDE, customer.id, entitlement, override=override, timing=timing)


def _timing(override: Override, at_ms: int) -> Timing:
    if override.is_active(at_ms):
        return Timing.ACTIVE
    is_over = override.expires_at_ms is not None and override.expires_at_ms <= at_ms
    return Timing.EXPIRED if is_over else Timing.PENDING
