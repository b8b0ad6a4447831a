"""What a customer has at an instant: by itself, and under the customers above it.

Rules of a hierarchy, for a customer with a parent (see docs/hierarchy.md):

- A subscription *stands* from its start until it ends or is canceled, paused or past due as well.
  Where one of its own stands, a customer has what that grants.
- Else it inherits: what its nearest ancestor with an active subscription has, with its own
  overrides on top. Limits and rates stay the ancestor's; its own are those of its overrides.
- Every ancestor bounds what is below it: what its subscription or its overrides say on a feature
  holds for all its descendants together. An ancestor without a subscription that stands says
  nothing but its overrides. One that is revoked or archived, or whose subscription stands but is
  not active, refuses everything below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from weighbridge.rules.catalog import (
    Customer,
    CustomerStatus,
    Entitlement,
    Override,
    PlanVersion,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.entitlement import Entitlements, PlanCompiler, with_overrides
from weighbridge.rules.lifecycle import plan_at

LEVELS_MAX: Final = 8
"""How deep a hierarchy may be, its topmost customer included."""

NO_ANCHOR_MS: Final = 0
"""Where anniversary windows count from if nobody has a subscription: 1970-01-01."""


class Grant(NamedTuple):
    """What a customer or resource has until `changes_at_ms` (None: until the next version).

    `overrides` are those that `entitlements` include. `above` is what the parent says. Where the
    subscription is an ancestor's, `inherited_from` names it.
    """

    subscription: Subscription
    plan: PlanVersion
    entitlements: Entitlements
    changes_at_ms: int | None
    overrides: tuple[Override, ...] = ()
    above: Level | None = None
    inherited_from: str = ""


class NoGrant(NamedTuple):
    """Why a customer or resource has nothing, until `changes_at_ms`.

    `limited_by` names the ancestor that is the reason; empty: it is the customer itself.
    """

    reason: Reason
    changes_at_ms: int | None
    limited_by: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """What one customer says to all below it, until it or one above it changes.

    `grant` is that of its own subscription. `entitlements` are the grant's, else those of its
    overrides alone; their anniversary windows count from `anchor_ms`. `reason` refuses all below.
    """

    customer: str
    above: Level | None
    reason: Reason | None
    grant: Grant | None
    entitlements: Entitlements
    has_trial_ended: bool
    anchor_ms: int
    changes_at_ms: int | None
    # What those below inherit, without limits and rates.
    handed_down: Entitlements

    def said(self, feature: str) -> Entitlement | None:
        """Return what holds for all below on a feature; None: it says nothing of it."""
        found = self.entitlements.get(feature)
        if found is None and self.grant is not None:
            return Entitlement(feature, enabled=False)
        return found


class Bounded(NamedTuple):
    """What a customer has on a feature under all above it; no entitlement: it is refused.

    `limited_by` names the ancestor that refuses it, or has less of a number or of values.
    `levels` are the ancestors that say something, nearest first.
    """

    entitlement: Entitlement | None
    limited_by: str = ""
    levels: tuple[tuple[Level, Entitlement], ...] = ()


class _Own(NamedTuple):
    """What is a customer's or resource's own; `why_none`: why it has no subscription."""

    reason: Reason | None
    subscription: Subscription | None
    plan: PlanVersion | None
    overrides: tuple[Override, ...]
    why_none: Reason
    changes_at_ms: int | None


def grant_of(
    compiler: PlanCompiler,
    customer: Customer,
    resource: str,
    at_ms: int,
    above: Level | None = None,
) -> Grant | NoGrant:
    """Work out what a customer ("" resource) or a resource has at an instant.

    `above` is its parent's level then. A resource inherits nothing; it is bounded all the same.
    """
    own = _own(compiler, customer, resource, at_ms)
    changes_at_ms = own.changes_at_ms
    if above is not None:
        changes_at_ms = _earlier(changes_at_ms, above.changes_at_ms)
    if own.reason is not None:
        return NoGrant(own.reason, changes_at_ms)
    for level in lineage(above):
        if level.reason is not None:
            return NoGrant(level.reason, changes_at_ms, level.customer)
    if own.subscription is None or own.plan is None:
        if above is None or resource:
            return NoGrant(own.why_none, changes_at_ms)
        return _inherited(own, above, changes_at_ms)
    entitlements = _granted(compiler, own.subscription, own.plan, own.overrides)
    return Grant(own.subscription, own.plan, entitlements, changes_at_ms, own.overrides, above)


def level_of(compiler: PlanCompiler, customer: Customer, above: Level | None, at_ms: int) -> Level:
    """Work out what a customer says to all below it; `above` is its own parent's level."""
    own = _own(compiler, customer, "", at_ms)
    changes_at_ms = own.changes_at_ms
    if above is not None:
        changes_at_ms = _earlier(changes_at_ms, above.changes_at_ms)
    grant: Grant | None = None
    entitlements: Entitlements = {}
    if own.reason is None and own.subscription is not None and own.plan is not None:
        entitlements = _granted(compiler, own.subscription, own.plan, own.overrides)
        grant = Grant(own.subscription, own.plan, entitlements, changes_at_ms, own.overrides, above)
    elif own.reason is None:
        entitlements = with_overrides({}, own.overrides)
    anchor_ms = NO_ANCHOR_MS if above is None else above.anchor_ms
    if grant is not None:
        handed_down = _unbounded(entitlements)
    else:
        handed_down = {} if above is None else above.handed_down
    return Level(
        customer=customer.id,
        above=above,
        reason=own.reason,
        grant=grant,
        entitlements=entitlements,
        has_trial_ended=grant is None and own.why_none is Reason.TRIAL_ENDED,
        anchor_ms=anchor_ms if grant is None else grant.subscription.anchor_ms,
        changes_at_ms=changes_at_ms,
        handed_down=handed_down,
    )


def lineage(nearest: Level | None) -> Iterator[Level]:
    """Iterate over a level and those above it."""
    while nearest is not None:
        yield nearest
        nearest = nearest.above


def bounded(grant: Grant, feature: str) -> Bounded:
    """Return what a grant gives on a feature under all above it."""
    entitlement = grant.entitlements.get(feature)
    if entitlement is None or not entitlement.enabled:
        is_own = not grant.inherited_from or any(
            override.entitlement.feature == feature for override in grant.overrides
        )
        if is_own:
            return Bounded(None)
    limited_by = ""
    levels: list[tuple[Level, Entitlement]] = []
    for level in lineage(grant.above):
        said = level.said(feature)
        if said is None:
            continue
        if not said.enabled:
            return Bounded(None, level.customer)
        levels.append((level, said))
        if entitlement is not None:
            narrower = _narrowed(entitlement, said)
            if narrower is not entitlement:
                entitlement, limited_by = narrower, level.customer
    return Bounded(entitlement, limited_by, tuple(levels))


def _inherited(own: _Own, above: Level, changes_at_ms: int | None) -> Grant | NoGrant:
    for level in lineage(above):
        if level.grant is not None:
            handed_down = above.handed_down
            return Grant(
                level.grant.subscription,
                level.grant.plan,
                with_overrides(handed_down, own.overrides) if own.overrides else handed_down,
                changes_at_ms,
                own.overrides,
                above,
                level.customer,
            )
    if own.why_none is not Reason.TRIAL_ENDED:
        for level in lineage(above):
            if level.has_trial_ended:
                return NoGrant(Reason.TRIAL_ENDED, changes_at_ms, level.customer)
    return NoGrant(own.why_none, changes_at_ms)


def _unbounded(entitlements: Entitlements) -> Entitlements:
    """Leave limits and rates out: they stay those of whom they were granted to."""
    return {
        feature: replace(each, limits=(), rates=()) if each.limits or each.rates else each
        for feature, each in entitlements.items()
    }


def _narrowed(entitlement: Entitlement, said: Entitlement) -> Entitlement:
    """Return no more of a number or of values than an ancestor has; the same where it has all."""
    number = entitlement.number
    if said.number is not None and (number is None or said.number < number):
        entitlement = replace(entitlement, number=said.number)
    values = tuple(value for value in entitlement.values if value in said.values)
    if values != entitlement.values:
        entitlement = replace(entitlement, values=values)
    return entitlement


def _own(compiler: PlanCompiler, customer: Customer, resource: str, at_ms: int) -> _Own:
    changes_at_ms = _next_change_ms(customer, resource, at_ms)
    why_none = _reason_for_none(customer, resource, at_ms)
    reason: Reason | None = None
    subscription: Subscription | None = None
    plan: PlanVersion | None = None
    if customer.status is CustomerStatus.REVOKED:
        reason = Reason.REVOKED
    elif customer.status is CustomerStatus.ARCHIVED:
        reason = Reason.CUSTOMER_ARCHIVED
    elif resource and resource not in customer.resources:
        reason = Reason.RESOURCE_UNKNOWN
    else:
        subscription = _active_subscription(customer, resource, at_ms)
        if subscription is not None:
            plan, moves_at_ms = plan_at(compiler.catalog, subscription, at_ms)
            changes_at_ms = _earlier(changes_at_ms, moves_at_ms)
        if plan is None and _stands(customer, resource, at_ms):
            reason = Reason.NO_ACTIVE_SUBSCRIPTION
    overrides = tuple(
        o for o in customer.overrides if o.resource == resource and o.is_active(at_ms)
    )
    return _Own(reason, subscription, plan, overrides, why_none, changes_at_ms)


def _granted(
    compiler: PlanCompiler,
    subscription: Subscription,
    plan: PlanVersion,
    overrides: tuple[Override, ...],
) -> Entitlements:
    entitlements = compiler.entitlements(plan, subscription.add_ons, subscription.quantity)
    return with_overrides(entitlements, overrides) if overrides else entitlements


def _stands(customer: Customer, resource: str, at_ms: int) -> bool:
    return any(
        s.resource == resource
        and s.status is not SubscriptionStatus.CANCELED
        and s.starts_at_ms <= at_ms
        and (s.ends_at_ms is None or at_ms < s.ends_at_ms)
        for s in customer.subscriptions
    )


def _active_subscription(customer: Customer, resource: str, at_ms: int) -> Subscription | None:
    for subscription in customer.subscriptions:
        if subscription.resource == resource and subscription.is_active(at_ms):
            return subscription
    return None


def _reason_for_none(customer: Customer, resource: str, at_ms: int) -> Reason:
    begun = [
        s for s in customer.subscriptions if s.resource == resource and s.starts_at_ms <= at_ms
    ]
    last = max(begun, key=lambda subscription: subscription.starts_at_ms, default=None)
    if last is None or not last.is_trial or last.status is SubscriptionStatus.CANCELED:
        return Reason.NO_ACTIVE_SUBSCRIPTION
    has_ended = last.ends_at_ms is not None and last.ends_at_ms <= at_ms
    return Reason.TRIAL_ENDED if has_ended else Reason.NO_ACTIVE_SUBSCRIPTION


def _next_change_ms(customer: Customer, resource: str, at_ms: int) -> int | None:
    """Return the next instant at which a start, an end or an expiry changes the answer."""
    instants: list[int | None] = []
    for subscription in customer.subscriptions:
        if subscription.resource == resource:
            instants += (
                subscription.starts_at_ms,
                subscription.ends_at_ms,
                subscription.status_until_ms,
            )
    for override in customer.overrides:
        if override.resource == resource:
            instants += (override.starts_at_ms, override.expires_at_ms)
    return min((i for i in instants if i is not None and i > at_ms), default=None)


def _earlier(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)
