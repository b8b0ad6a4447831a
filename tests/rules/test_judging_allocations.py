"""A release, as a question that charges nobody."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from weighbridge.rules.catalog import (
    Catalog,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    Meter,
    PlanVersion,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.decision import LimitState, Reason, held
from weighbridge.rules.granting import Grant
from weighbridge.rules.judging import Asked, judge
from weighbridge.rules.rate import Rate, RateState
from weighbridge.rules.window import LIFETIME_BOUNDS, Window, WindowKind

LIMIT = Limit("held", LimitKind.HARD, 3, Window(WindowKind.LIFETIME))
CATALOG = Catalog(
    "c", 1, {"jobs": Feature("jobs", FeatureType.METERED, meter=Meter.ALLOCATION)}, plans={}
)
SUBSCRIPTION = Subscription("s", "", "p", None, (), SubscriptionStatus.ACTIVE, 0, 0)


class Sum:
    """What is held, as a signed sum."""

    def __init__(self, total: int) -> None:
        self.total = total

    def states(
        self, customer: str, entitlement: Entitlement, anchor_ms: int
    ) -> Sequence[LimitState]:
        return [LimitState(LIMIT, LIFETIME_BOUNDS, self.total)]

    def rates(self, customer: str, rates: Sequence[Rate]) -> Sequence[RateState]:
        return ()


def grant(*entitlements: Entitlement) -> Grant:
    plan = PlanVersion("p", 1, "P", {each.feature: each for each in entitlements})
    return Grant(SUBSCRIPTION, plan, plan.entitlements, None)


@pytest.mark.parametrize(
    ("total", "amount", "allowed"),
    [(3, 1, False), (9, -1, True), (-5, 3, True), (-5, 4, False), (3, 0, True)],
)
def test_what_is_held_is_at_least_nothing(total: int, amount: int, *, allowed: bool) -> None:
    has = grant(Entitlement("jobs", limits=(LIMIT,)))
    verdict = judge(CATALOG, has, Asked("jobs", amount), Sum(total), 0).verdict
    assert verdict.allowed is allowed


def test_a_release_needs_no_plan_that_has_the_feature() -> None:
    assert judge(CATALOG, grant(), Asked("jobs", -1), Sum(1), 0).verdict.allowed
    refusal = judge(CATALOG, grant(), Asked("jobs", 1), Sum(1), 0).verdict
    assert refusal.reason is Reason.FEATURE_NOT_IN_PLAN


def test_states_above_nothing_are_left_as_they_are() -> None:
    state = LimitState(LIMIT, LIFETIME_BOUNDS, 2)
    below = state._replace(used=-2)
    assert held([state, below]) == [state, state._replace(used=0)]
