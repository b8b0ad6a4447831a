"""How those who follow a plan move to a new version of it: chosen with each change of a catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select, update

from control_plane.provisioning.checks import named_few
from control_plane.storage.tables import customer, plan_version, subscription
from weighbridge.rules.catalog import Catalog, Migration, SubscriptionStatus
from weighbridge.rules.errors import FailedPreconditionError, NotFoundError
from weighbridge.rules.units import require_id

PERIOD_MS_MAX: Final = 31 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class MigrationChoice:
    """How to move to new versions of plans: `default`, except of the plans named."""

    default: Migration = Migration.NOW
    of_plans: Mapping[str, Migration] = field(default_factory=dict)

    def of(self, plan: str) -> Migration:
        """Return how to move to a new version of the plan."""
        return self.of_plans.get(plan, self.default)


ALL_NOW: Final = MigrationChoice()


def changed_plans(before: Catalog | None, after: Catalog) -> frozenset[str]:
    """Return the plans that have a new version."""
    return frozenset(
        plan
        for plan, versions in after.plans.items()
        if before is not None
        and (old := before.plan(plan)) is not None
        and old.version not in versions
    )


def require_followers(
    connection: Connection, before: Catalog | None, after: Catalog, choice: MigrationChoice
) -> None:
    """Raise where a plan named in the choice does not change, or has nobody to move."""
    changed = changed_plans(before, after)
    for index, plan in enumerate(choice.of_plans):
        require_id(f"plan_migrations[{index}]", plan)
        if plan not in after.plans:
            raise NotFoundError(
                f"plan {plan!r} is not in catalog {after.id!r}; it has {named_few(after.plans)}"
            )
        if plan not in changed:
            raise FailedPreconditionError(
                f"plan {plan!r} does not change, so there is nothing to move to; "
                "name no migration for it"
            )
        query = (
            select(subscription.c.id)
            .join(customer, customer.c.id == subscription.c.customer_id)
            .where(customer.c.catalog_id == after.id, _follows(plan))
        )
        if connection.execute(query.limit(1)).first() is None:
            raise FailedPreconditionError(
                f"nobody follows plan {plan!r}, so there is nobody to move to its new version; "
                "name no migration for it"
            )


def settle_migrations(connection: Connection, catalog_id: str, now_ms: int) -> None:
    """Make `now` of each migration that holds nobody back any more: it means the same by then."""
    made = plan_version
    of_catalog = made.c.catalog_id == catalog_id
    connection.execute(
        update(made)
        .where(
            of_catalog,
            made.c.migration == Migration.AT_PERIOD_END.value,
            made.c.since_ms < now_ms - PERIOD_MS_MAX,
        )
        .values(migration=Migration.NOW.value)
    )
    held_back = exists().where(
        customer.c.catalog_id == catalog_id,
        subscription.c.customer_id == customer.c.id,
        subscription.c.plan_id == made.c.plan_id,
        subscription.c.plan_version.is_(None),
        subscription.c.status != SubscriptionStatus.CANCELED.value,
        subscription.c.on_plan_since_ms < made.c.since_ms,
    )
    connection.execute(
        update(made)
        .where(of_catalog, made.c.migration == Migration.NEW_CUSTOMERS.value, ~held_back)
        .values(migration=Migration.NOW.value)
    )


def is_not_held_back(catalog_id: str) -> ColumnElement[bool]:
    """Whether a following subscription takes, now or later, the next version of its plan."""
    made = plan_version
    return ~exists().where(
        made.c.catalog_id == catalog_id,
        made.c.plan_id == subscription.c.plan_id,
        made.c.migration == Migration.NEW_CUSTOMERS.value,
        made.c.since_ms > subscription.c.on_plan_since_ms,
    )


def is_on_version(catalog: Catalog, plan: str, number: int) -> ColumnElement[bool]:
    """Whether a subscription keeps a version of a plan, or may still be on it as a follower."""
    keeps = and_(subscription.c.plan_id == plan, subscription.c.plan_version == number)
    steps = catalog.steps.get(plan, ())
    held_since_ms = 0
    for step, following in pairwise(steps):
        if step.migration is Migration.NEW_CUSTOMERS:
            held_since_ms = step.since_ms
        if step.version == number and following.migration is not Migration.NOW:
            since = subscription.c.on_plan_since_ms
            waits = and_(_follows(plan), since < following.since_ms, since >= held_since_ms)
            return or_(keeps, waits)
    return keeps


def _follows(plan: str) -> ColumnElement[bool]:
    return and_(
        subscription.c.plan_id == plan,
        subscription.c.plan_version.is_(None),
        subscription.c.status != SubscriptionStatus.CANCELED.value,
    )
