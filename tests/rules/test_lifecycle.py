"""Which version of its plan a subscription is on, and when that changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rule_values import calls, granting, limit

from weighbridge.rules.catalog import (
    Catalog,
    Customer,
    CustomerStatus,
    Feature,
    FeatureType,
    Migration,
    PlanVersion,
    Subscription,
    SubscriptionStatus,
    VersionStep,
)
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.granting import Grant, grant_of
from weighbridge.rules.lifecycle import period_end_ms, plan_at

DAY_MS = 86_400_000
NOW, LATER, NEVER = Migration.NOW, Migration.AT_PERIOD_END, Migration.NEW_CUSTOMERS


def catalog(*steps: VersionStep, versions: int = 9) -> Catalog:
    plans = {
        number: PlanVersion("pro", number, "Pro", granting(calls(limit("month", number))))
        for number in range(1, versions + 1)
    }
    features = {"calls": Feature("calls", FeatureType.METERED)}
    return Catalog("shop", 1, features, {"pro": plans}, steps={"pro": steps} if steps else {})


def following(since_ms: int = 0, anchor_ms: int = 0) -> Subscription:
    active = SubscriptionStatus.ACTIVE
    return Subscription("s1", "", "pro", None, (), active, anchor_ms, 0, on_plan_since_ms=since_ms)


def version_of(of: Catalog, subscription: Subscription, at_ms: int) -> int:
    plan = plan_at(of, subscription, at_ms).plan
    assert plan is not None
    return plan.version


def test_who_follows_moves_at_once_by_default() -> None:
    assert version_of(catalog(), following(), 0) == 9
    steps = (VersionStep(1, 0), VersionStep(2, 50), VersionStep(9, 60))
    assert version_of(catalog(*steps), following(), 0) == 9


def test_who_was_there_keeps_the_version_for_good() -> None:
    steps = (VersionStep(1, 0), VersionStep(2, 50, NEVER), VersionStep(3, 60, NOW))
    assert version_of(catalog(*steps), following(49), 10**12) == 1
    assert version_of(catalog(*steps), following(50), 60) == 3
    assert plan_at(catalog(*steps), following(49), 70).changes_at_ms is None


def test_the_period_decides_when_one_moves() -> None:
    came_ms = 10 * DAY_MS
    of = catalog(VersionStep(1, 0), VersionStep(2, came_ms, LATER))
    subscription = following(0, anchor_ms=5 * DAY_MS)
    # The anchor is 6 January 1970; the period ends on 6 February.
    ends_ms = 36 * DAY_MS
    assert plan_at(of, subscription, came_ms).changes_at_ms == ends_ms
    assert version_of(of, subscription, ends_ms - 1) == 1
    assert version_of(of, subscription, ends_ms) == 2
    assert version_of(of, following(came_ms, 5 * DAY_MS), came_ms) == 2


def test_later_versions_wait_for_the_one_that_is_waited_for() -> None:
    waiting = (VersionStep(1, 0), VersionStep(2, DAY_MS, LATER))
    ends_ms = period_end_ms(0, DAY_MS)
    at_once = catalog(*waiting, VersionStep(3, 2 * DAY_MS, NOW))
    assert version_of(at_once, following(), ends_ms - 1) == 1
    assert version_of(at_once, following(), ends_ms) == 3
    never = catalog(*waiting, VersionStep(3, 2 * DAY_MS, NEVER))
    assert version_of(never, following(), ends_ms) == 2
    again = catalog(*waiting, VersionStep(3, ends_ms, LATER))
    assert version_of(again, following(), ends_ms) == 2
    assert version_of(again, following(), period_end_ms(0, ends_ms)) == 3


def test_a_version_that_is_kept_stays_and_one_that_is_gone_is_the_newest() -> None:
    steps = (VersionStep(1, 0), VersionStep(2, 50, NOW))
    assert version_of(catalog(*steps), replace(following(), plan_version=5), 0) == 5
    assert version_of(catalog(versions=3), replace(following(), plan_version=5), 0) == 3
    gone = replace(following(), plan="gone")
    assert plan_at(catalog(), gone, 0).plan is None


def test_a_grant_says_when_the_version_changes() -> None:
    of = catalog(VersionStep(1, 0), VersionStep(2, DAY_MS, LATER))
    customer = Customer("acme", 1, CustomerStatus.ACTIVE, "shop", subscriptions=(following(),))
    before = grant_of(PlanCompiler(of), customer, "", DAY_MS)
    assert isinstance(before, Grant)
    assert before.changes_at_ms == period_end_ms(0, DAY_MS)
    after = grant_of(PlanCompiler(of), customer, "", before.changes_at_ms)
    assert isinstance(after, Grant)
    assert (before.plan.version, after.plan.version, after.changes_at_ms) == (1, 2, None)


all_steps = st.lists(
    st.tuples(st.integers(0, 100 * DAY_MS), st.sampled_from(Migration)), min_size=1, max_size=6
).map(
    lambda drawn: tuple(
        VersionStep(number, since_ms, migration)
        for number, (since_ms, migration) in enumerate(sorted(drawn, key=lambda d: d[0]), 1)
    )
)
instants = st.integers(0, 300 * DAY_MS)


@given(all_steps, instants, instants, st.lists(instants, min_size=2, max_size=5))
def test_versions_only_rise_and_change_only_when_said(
    steps: tuple[VersionStep, ...], since_ms: int, anchor_ms: int, times: list[int]
) -> None:
    of, subscription = catalog(*steps), following(since_ms, anchor_ms)
    seen = [(at_ms, plan_at(of, subscription, at_ms)) for at_ms in sorted(times)]
    for (_, earlier), (at_ms, later) in pairwise(seen):
        assert earlier.plan is not None
        assert later.plan is not None
        assert earlier.plan.version <= later.plan.version
        if earlier.changes_at_ms is None or at_ms < earlier.changes_at_ms:
            assert earlier == later


@given(all_steps, instants, instants)
def test_who_comes_last_is_on_the_newest(
    steps: tuple[VersionStep, ...], anchor_ms: int, at_ms: int
) -> None:
    since_ms = max(step.since_ms for step in steps)
    assert version_of(catalog(*steps), following(since_ms, anchor_ms), at_ms) == steps[-1].version
