"""The life of a subscription: which version of its plan it is on, and when that changes.

Rules:

- A subscription that keeps a version is on that one.
- One that follows its plan begins on the version that is current when it comes to the plan, and
  takes each later version in turn, as that version's migration says: `now` at once;
  `at_period_end` when the subscription's period in which the version came ends; `new_customers`
  never, and none after it either. While it waits for one version, later ones wait with it.
- A version that the catalog does not have is one that nobody is on: the control plane carries all
  others. Where a catalog comes before a customer's own change, the newest version stands in.
- A period is the month between two returns of the subscription's anchor, in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from weighbridge.rules.catalog import (
    Catalog,
    Migration,
    PlanVersion,
    Subscription,
    VersionStep,
)
from weighbridge.rules.window import Period, Window, WindowKind, window_bounds

PERIOD: Final = Window(WindowKind.ANNIVERSARY, Period.MONTH)


class PlanAt(NamedTuple):
    """The plan version that a subscription is on until `changes_at_ms` (None: nothing is known).

    `plan` is None where the catalog does not have the plan at all.
    """

    plan: PlanVersion | None
    changes_at_ms: int | None = None


def plan_at(catalog: Catalog, subscription: Subscription, at_ms: int) -> PlanAt:
    """Return the version of its plan that a subscription is on at an instant."""
    steps = catalog.steps.get(subscription.plan, ())
    number, changes_at_ms = version_at(steps, subscription, at_ms)
    return PlanAt(_version(catalog, subscription.plan, number), changes_at_ms)


def version_at(
    steps: Sequence[VersionStep], subscription: Subscription, at_ms: int
) -> tuple[int | None, int | None]:
    """Return the number of the version that it is on, and until when; None: the newest, for good.

    `steps` are those of its plan that have come by then, oldest first.
    """
    if subscription.plan_version is not None or not steps:
        return subscription.plan_version, None
    version = steps[0].version
    for step in steps[1:]:
        if subscription.since_ms < step.since_ms:
            if step.migration is Migration.NEW_CUSTOMERS:
                break
            if step.migration is Migration.AT_PERIOD_END:
                moves_at_ms = period_end_ms(subscription.anchor_ms, step.since_ms)
                if at_ms < moves_at_ms:
                    return version, moves_at_ms
        version = step.version
    return version, None


def _version(catalog: Catalog, plan: str, version: int | None) -> PlanVersion | None:
    return catalog.plan(plan, version) or catalog.plan(plan)


def period_end_ms(anchor_ms: int, at_ms: int) -> int:
    """Return when the period ends in which the instant lies."""
    end_ms = window_bounds(PERIOD, at_ms, anchor_ms).end_ms
    assert end_ms is not None
    return end_ms
