"""What a customer holds of allocations, and that a change of its plan takes none of it away."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, or_, select

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import load_record, owner
from control_plane.storage.tables import customer_ancestor, usage_event, usage_total
from weighbridge.rules.catalog import (
    Catalog,
    Enforcement,
    Entitlement,
    LimitKind,
    Override,
    PlanVersion,
    Subscription,
)
from weighbridge.rules.entitlement import PlanCompiler, with_overrides
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.lifecycle import plan_at
from weighbridge.rules.window import Window, WindowKind

_HELD: Final = Window(WindowKind.LIFETIME).key
_HALF: Final = 2**32


class PlanChange(NamedTuple):
    """One subscription that takes the place of another, when it begins."""

    customer: str
    before: Subscription | None
    after: Subscription
    at_ms: int


def require_kept(
    connection: Connection, library: CatalogLibrary, catalog: Catalog, change: PlanChange
) -> None:
    """Raise FailedPreconditionError where a change lowers a limit below what is held.

    A limit that the change leaves or raises is no loss, however much is held. `catalog` is the
    current one.
    """
    allocations = [
        feature.id
        for feature in catalog.features.values()
        if feature.is_allocation and feature.enforcement is Enforcement.ENFORCE
    ]
    if not allocations or change.before is None:
        return
    resource = change.after.resource
    # The same for both: an override that ends meanwhile is not what the change takes away.
    overrides = [
        each
        for each in load_record(connection, change.customer).customer.overrides
        if each.resource == resource and each.is_active(change.at_ms)
    ]
    granting = _Granting(connection, library, catalog, overrides)
    before = granting.entitlements(change.before, change.at_ms)
    after = granting.entitlements(change.after, change.at_ms)
    lowered = {
        feature: allowed
        for feature in allocations
        if (allowed := _allowed(after.get(feature))) is not None
        and not _is_within(_allowed(before.get(feature)), allowed)
    }
    held = read_held(connection, (change.customer, resource), lowered)
    for feature, allowed in lowered.items():
        surplus = held[feature] - allowed
        if surplus > 0:
            raise FailedPreconditionError(
                f"plan {change.after.plan!r} allows {allowed} {feature}, "
                f"{owner(change.customer, resource)} holds {held[feature]}; "
                f"release {surplus} first"
            )


class _Granting(NamedTuple):
    connection: Connection
    library: CatalogLibrary
    catalog: Catalog
    overrides: list[Override]

    def entitlements(self, subscription: Subscription, at_ms: int) -> Mapping[str, Entitlement]:
        """Return what a subscription grants, paused or not."""
        plan = self._plan(subscription, at_ms)
        if plan is None:
            return {}
        granted = PlanCompiler(self.catalog).entitlements(
            plan, subscription.add_ons, subscription.quantity
        )
        return with_overrides(granted, self.overrides)

    def _plan(self, subscription: Subscription, at_ms: int) -> PlanVersion | None:
        version = subscription.plan_version
        if version is None:
            return plan_at(self.catalog, subscription, at_ms).plan
        # It may be one that the catalog is about to carry.
        return self.library.plan_version(
            self.connection, self.catalog.id, subscription.plan, version
        )


def _allowed(entitlement: Entitlement | None) -> int | None:
    """Return how many units may be held; None: any number."""
    if entitlement is None or not entitlement.enabled:
        return 0
    hard = (limit.limit for limit in entitlement.limits if limit.kind is LimitKind.HARD)
    return min((limit for limit in hard if limit is not None), default=None)


def _is_within(allowed: int | None, allowed_later: int) -> bool:
    return allowed is not None and allowed <= allowed_later


def read_held(
    connection: Connection, holder: tuple[str, str], features: Collection[str]
) -> dict[str, int]:
    """Return what a (customer, resource) holds of each feature, as far as it is settled."""
    customer, resource = holder
    total, event = usage_total.c, usage_event.c
    of_totals = select(total.feature_id, total.total).where(
        total.customer_id == customer,
        total.resource_id == resource,
        total.feature_id.in_(features),
        total.window_key == _HELD,
    )
    held: dict[str, int] = {row.feature_id: row.total for row in connection.execute(of_totals)}
    # In two halves: the sum itself could overflow the database's integers.
    high, low = func.sum(event.amount // _HALF), func.sum(event.amount % _HALF)
    is_its_own = (event.customer_id == customer) & (event.resource_id == resource)
    # Of a customer itself, what everybody under it holds counts as well.
    below = select(customer_ancestor.c.customer_id).where(
        customer_ancestor.c.ancestor_id == customer
    )
    of_events = (
        select(event.feature_id, high, low)
        .where(
            is_its_own if resource else or_(is_its_own, event.customer_id.in_(below)),
            event.feature_id.in_([feature for feature in features if feature not in held]),
        )
        .group_by(event.feature_id)
    )
    for feature, high_half, low_half in connection.execute(of_events).all():
        held[feature] = int(high_half) * _HALF + int(low_half)
    return {feature: max(held.get(feature, 0), 0) for feature in features}
