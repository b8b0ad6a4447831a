"""Who is affected by a change of a catalog, and who stands in its way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, false, func, or_, select, union

from control_plane.catalog import CatalogChange
from control_plane.catalog.credit_comparing import uses_credits
from control_plane.provisioning.migrating import (
    MigrationChoice,
    changed_plans,
    is_not_held_back,
    is_on_version,
)
from control_plane.storage.tables import (
    customer,
    customer_ancestor,
    override,
    subscription,
    subscription_add_on,
)
from weighbridge.rules.catalog import Catalog, CustomerStatus, Migration, SubscriptionStatus
from weighbridge.rules.errors import FailedPreconditionError

SAMPLE_SIZE: Final = 10


class Touched(NamedTuple):
    """Plans and add-ons whose subscribers a change affects.

    `followed` are plans of which only those are affected who take their new version, now or later.
    """

    followed: frozenset[str] = frozenset()
    plans: frozenset[str] = frozenset()
    add_ons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AffectedCustomers:
    """How many distinct customers, and the ids of some of them."""

    count: int
    sample: tuple[str, ...]


def touched_by(change: CatalogChange, choice: MigrationChoice) -> Touched:
    """Return what a change touches. A change of a plan leaves those alone who keep a version."""
    if change.path.startswith("plans."):
        moved = frozenset(
            plan for plan in change.plans if choice.of(plan) is not Migration.NEW_CUSTOMERS
        )
        return Touched(followed=moved, add_ons=change.add_ons)
    return Touched(plans=change.plans, add_ons=change.add_ons)


def touched_by_all(changes: Iterable[CatalogChange], choice: MigrationChoice) -> Touched:
    """Return what changes touch together."""
    every = [touched_by(change, choice) for change in changes]
    return Touched(
        frozenset[str]().union(*(touched.followed for touched in every)),
        frozenset[str]().union(*(touched.plans for touched in every)),
        frozenset[str]().union(*(touched.add_ons for touched in every)),
    )


def affected_customers(
    connection: Connection, catalog_id: str, touched: Touched, now_ms: int
) -> AffectedCustomers:
    """Find the customers with an active subscription to something touched, and all under them."""
    subscribers = (
        _subscribers(catalog_id, touched)
        .where(
            customer.c.status == CustomerStatus.ACTIVE.value,
            or_(subscription.c.ends_at_ms.is_(None), subscription.c.ends_at_ms > now_ms),
        )
        .cte("subscribers")
    )
    above = customer_ancestor.c
    below = (
        select(customer.c.id)
        .join(customer_ancestor, above.customer_id == customer.c.id)
        .join(subscribers, subscribers.c.id == above.ancestor_id)
        .where(customer.c.status == CustomerStatus.ACTIVE.value)
    )
    each = union(select(subscribers.c.id), below).subquery()
    found = select(each.c.id)
    sample = connection.scalars(found.order_by(each.c.id).limit(SAMPLE_SIZE)).all()
    if len(sample) < SAMPLE_SIZE:
        return AffectedCustomers(len(sample), tuple(sample))
    count = connection.execute(select(func.count()).select_from(found.subquery())).scalar_one()
    return AffectedCustomers(count, tuple(sample))


def require_unused(
    connection: Connection, before: Catalog, after: Catalog, choice: MigrationChoice
) -> None:
    """Raise FailedPreconditionError where a customer is still on something that goes away.

    `before` has the older plan versions that subscriptions are on, too. Archived and revoked
    customers count: they can be revived.
    """
    kept = {
        (plan, number)
        for plan, versions in before.plans.items()
        for number in versions
        if number != max(versions)
    }
    # Those who do not move at once stay on what was the newest version until now.
    staying = {
        (plan, max(before.plans[plan]))
        for plan in changed_plans(before, after)
        if choice.of(plan) is not Migration.NOW
    }
    _require_plans_unused(connection, before, after)
    _require_same_meters(before, after)
    _require_credits_unused(connection, before, after, kept | staying)
    for feature_id, feature in before.features.items():
        now = after.features.get(feature_id)
        if now is None:
            _require_feature_unused(connection, before, feature_id, kept, is_removed=True)
        elif now.type is not feature.type:
            _require_feature_unused(connection, before, feature_id, kept | staying)


def _require_plans_unused(connection: Connection, before: Catalog, after: Catalog) -> None:
    for plan in before.plans:
        if plan not in after.plans:
            _require_none(
                connection,
                _subscribers(before.id, Touched(plans=frozenset({plan}))),
                f"plan {plan!r}",
                "move them to another plan first",
            )
    for add_on in before.add_ons:
        if add_on not in after.add_ons:
            _require_none(
                connection,
                _subscribers(before.id, Touched(add_ons=frozenset({add_on}))),
                f"add-on {add_on!r}",
                "take it off their subscriptions first",
            )


def _require_same_meters(before: Catalog, after: Catalog) -> None:
    """Refuse another meter: what was used so far would be held for good."""
    for id_, feature in before.features.items():
        now = after.features.get(id_)
        if now is not None and now.meter is not feature.meter:
            raise FailedPreconditionError(
                f"the meter of feature {id_!r} is {feature.meter.value} and stays that, for what "
                "was counted so far means nothing else; give the new feature another id"
            )


def _require_feature_unused(
    connection: Connection,
    before: Catalog,
    feature_id: str,
    kept: set[tuple[str, int]],
    *,
    is_removed: bool = False,
) -> None:
    """Look for customers who would be left with a feature that is gone or of another type.

    A type can change under those who follow a plan at once: the plan's grant changes with it.
    `kept` are the plan versions that others are on.
    """
    name = f"feature {feature_id!r}" if is_removed else f"the type of feature {feature_id!r}"
    overriding = (
        select(customer.c.id)
        .join(override, override.c.customer_id == customer.c.id)
        .where(customer.c.catalog_id == before.id, override.c.feature_id == feature_id)
    )
    _require_none(connection, overriding, name, "remove their overrides of it first")
    for plan, number in sorted(kept):
        if feature_id in before.plans[plan][number].entitlements:
            _require_none(
                connection,
                _keeping(before, plan, number),
                name,
                f"they keep version {number} of plan {plan!r}, which grants it",
            )
    if is_removed:
        granting = Touched(
            plans=frozenset(
                id_
                for id_ in before.plans
                if (plan_now := before.plan(id_)) and feature_id in plan_now.entitlements
            ),
            add_ons=frozenset(
                add_on.id for add_on in before.add_ons.values() if feature_id in add_on.entitlements
            ),
        )
        _require_none(
            connection,
            _subscribers(before.id, granting),
            name,
            "apply the catalog without it in their plan or add-on first",
        )


def _require_credits_unused(
    connection: Connection, before: Catalog, after: Catalog, kept: set[tuple[str, int]]
) -> None:
    """Look for customers who would be left with credits that are gone, or buy nothing any more."""
    for plan, number in sorted(kept):
        version = before.plans[plan][number]
        gone = [each for each in before.credit_types if each not in after.credit_types]
        names = [f"credit type {each!r}" for each in gone if uses_credits(version, each)]
        names += [
            f"the cost of {feature!r} in {draw.credit_type!r}"
            for feature, each in version.entitlements.items()
            if (draw := each.credit) is not None
            and draw.credit_type in after.credit_types
            and feature not in after.credit_types[draw.credit_type].costs
        ]
        for name in names:
            remedy = f"they keep version {number} of plan {plan!r}, which uses it"
            _require_none(connection, _keeping(before, plan, number), name, remedy)


def _keeping(before: Catalog, plan: str, number: int) -> Select[Any]:
    keeping = _subscribers(before.id, Touched(plans=frozenset({plan})))
    if number == max(before.plans[plan]):
        return keeping
    return keeping.where(is_on_version(before, plan, number))


def _require_none(connection: Connection, found: Select[Any], name: str, remedy: str) -> None:
    customer_id = connection.scalar(found.order_by(customer.c.id).limit(1))
    if customer_id is not None:
        raise FailedPreconditionError(
            f"{name} cannot go: customers are on it, for instance {customer_id!r}; {remedy}"
        )


def _subscribers(catalog_id: str, touched: Touched) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = []
    if touched.plans:
        conditions.append(subscription.c.plan_id.in_(sorted(touched.plans)))
    if touched.followed:
        conditions.append(
            subscription.c.plan_id.in_(sorted(touched.followed))
            & subscription.c.plan_version.is_(None)
            & is_not_held_back(catalog_id)
        )
    if touched.add_ons:
        bought = select(subscription_add_on.c.subscription_id).where(
            subscription_add_on.c.add_on_id.in_(sorted(touched.add_ons))
        )
        conditions.append(subscription.c.id.in_(bought))
    return (
        select(customer.c.id)
        .distinct()
        .join(subscription, subscription.c.customer_id == customer.c.id)
        .where(
            customer.c.catalog_id == catalog_id,
            subscription.c.status != SubscriptionStatus.CANCELED.value,
            or_(false(), *conditions),
        )
    )
