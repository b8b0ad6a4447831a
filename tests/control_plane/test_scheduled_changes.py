"""Subscriptions that change later, pause, or are past due."""

from __future__ import annotations

import pytest
from provisioned import CATALOG, NOW_MS, Environment

from control_plane import provisioning
from control_plane.provisioning import ChangeTime, WantedSubscription
from weighbridge.rules.catalog import SubscribedAddOn, SubscriptionStatus
from weighbridge.rules.decision import Reason
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.granting import NoGrant, grant_of
from weighbridge.rules.lifecycle import period_end_ms

DAY_MS = 86_400_000
LATER = ChangeTime.PERIOD_END
PERIOD_END_MS = period_end_ms(NOW_MS, NOW_MS)


@pytest.fixture
def acme(environment: Environment) -> Environment:
    """Make an environment with a customer on plan pro since NOW_MS."""
    environment.apply()
    environment.create("acme", "pro")
    environment.now_ms += DAY_MS
    return environment


def put_on(of: Environment, plan: str, when: ChangeTime = ChangeTime.NOW, *add_ons: str) -> None:
    wanted = WantedSubscription(
        "acme", plan, add_ons=tuple(map(SubscribedAddOn, add_ons)), when=when
    )
    with of.database.writing() as connection:
        provisioning.set_subscription(connection, of.library, wanted, of.now_ms)


def cancel(of: Environment, when: ChangeTime = ChangeTime.NOW) -> None:
    with of.database.writing() as connection:
        provisioning.cancel_subscription(connection, "acme", "", of.now_ms, when)


def set_status(of: Environment, status: SubscriptionStatus, until_ms: int | None = None) -> None:
    with of.database.writing() as connection:
        provisioning.set_subscription_status(connection, ("acme", ""), status, until_ms, of.now_ms)


def plan_of(of: Environment, at_ms: int | None = None) -> str | Reason:
    """Return the plan at an instant as a sidecar works it out, else why there is none."""
    with of.database.reading() as connection:
        catalog = of.library.load(connection, "api")
    at_ms = of.now_ms if at_ms is None else at_ms
    grant = grant_of(PlanCompiler(catalog), of.customer("acme"), "", at_ms)
    return grant.reason if isinstance(grant, NoGrant) else grant.plan.plan


def test_a_downgrade_at_the_end_of_the_period(acme: Environment) -> None:
    put_on(acme, "free", LATER)
    assert (plan_of(acme, PERIOD_END_MS - 1), plan_of(acme, PERIOD_END_MS)) == ("pro", "free")
    now, then = acme.customer("acme").subscriptions
    assert (now.ends_at_ms, then.starts_at_ms) == (PERIOD_END_MS, PERIOD_END_MS)
    assert then.anchor_ms == now.anchor_ms == NOW_MS

    version = acme.customer("acme").version
    put_on(acme, "free", LATER)
    assert acme.customer("acme").version == version, "it is to come already"

    acme.now_ms = PERIOD_END_MS + 1
    put_on(acme, "pro")
    (only,) = acme.customer("acme").subscriptions
    assert (only.plan, only.ends_at_ms, only.starts_at_ms) == ("pro", None, acme.now_ms)


def test_what_is_to_come_can_be_taken_back_or_replaced(acme: Environment) -> None:
    before = acme.customer("acme").subscriptions
    put_on(acme, "free", LATER)
    put_on(acme, "pro")
    assert acme.customer("acme").subscriptions == before
    cancel(acme, LATER)
    assert plan_of(acme, PERIOD_END_MS) is Reason.NO_ACTIVE_SUBSCRIPTION
    assert plan_of(acme, PERIOD_END_MS - 1) == "pro"
    version = acme.customer("acme").version
    cancel(acme, LATER)
    assert acme.customer("acme").version == version
    put_on(acme, "free", LATER)
    assert plan_of(acme, PERIOD_END_MS) == "free"
    put_on(acme, "pro", LATER, "calls_500")
    assert plan_of(acme, PERIOD_END_MS) == "pro"
    now, then = acme.customer("acme").subscriptions
    assert (now.add_ons, then.add_ons) == ((), (SubscribedAddOn("calls_500"),))
    assert then.since_ms == NOW_MS, "it is the same plan"
    cancel(acme)
    assert plan_of(acme) is Reason.NO_ACTIVE_SUBSCRIPTION
    assert plan_of(acme, PERIOD_END_MS) is Reason.NO_ACTIVE_SUBSCRIPTION
    with pytest.raises(NotFoundError, match="has no active subscription"):
        cancel(acme)
    with pytest.raises(FailedPreconditionError, match="no active subscription whose period"):
        put_on(acme, "pro", LATER)


def test_after_its_end_a_customer_comes_anew(acme: Environment) -> None:
    cancel(acme, LATER)
    acme.now_ms = PERIOD_END_MS
    with pytest.raises(NotFoundError):
        cancel(acme)
    put_on(acme, "pro")
    (only,) = acme.customer("acme").subscriptions
    assert only.anchor_ms == only.since_ms == PERIOD_END_MS


def test_a_plan_that_somebody_is_to_come_to_cannot_go(acme: Environment) -> None:
    without_free = CATALOG.replace("  free:\n", "  base:\n").replace(
        "extends: free", "extends: base"
    )
    put_on(acme, "free", LATER)
    with pytest.raises(FailedPreconditionError, match="plan 'free' cannot go"):
        acme.apply(without_free)
    put_on(acme, "pro")
    assert acme.apply(without_free).version == 2


def test_pause_and_resume(acme: Environment) -> None:
    until_ms = acme.now_ms + 5 * DAY_MS
    set_status(acme, SubscriptionStatus.PAUSED, until_ms)
    assert plan_of(acme) is Reason.NO_ACTIVE_SUBSCRIPTION
    assert plan_of(acme, until_ms) == "pro"
    set_status(acme, SubscriptionStatus.PAUSED)
    assert plan_of(acme, until_ms) is Reason.NO_ACTIVE_SUBSCRIPTION
    put_on(acme, "free", LATER)
    assert plan_of(acme, PERIOD_END_MS) is Reason.NO_ACTIVE_SUBSCRIPTION, "paused all the same"
    set_status(acme, SubscriptionStatus.ACTIVE)
    assert (plan_of(acme), plan_of(acme, PERIOD_END_MS)) == ("pro", "free")


def test_a_new_plan_ends_a_pause(acme: Environment) -> None:
    set_status(acme, SubscriptionStatus.PAUSED)
    put_on(acme, "pro")
    assert plan_of(acme) == "pro"


def test_past_due_with_grace(acme: Environment) -> None:
    grace_ends_ms = acme.now_ms + 7 * DAY_MS
    set_status(acme, SubscriptionStatus.PAST_DUE, grace_ends_ms)
    assert plan_of(acme, grace_ends_ms - 1) == "pro"
    assert plan_of(acme, grace_ends_ms) is Reason.NO_ACTIVE_SUBSCRIPTION
    acme.now_ms = grace_ends_ms + DAY_MS
    set_status(acme, SubscriptionStatus.ACTIVE)
    assert plan_of(acme) == "pro"


@pytest.mark.parametrize(
    ("status", "until_ms", "message"),
    [
        (SubscriptionStatus.CANCELED, None, "status: is canceled"),
        (SubscriptionStatus.ACTIVE, 5, "until_unix_ms: cannot be given"),
        (SubscriptionStatus.PAST_DUE, None, "until_unix_ms: is not set"),
        (SubscriptionStatus.PAUSED, -1, "until_unix_ms: -1 is negative"),
    ],
)
def test_statuses_that_make_no_sense(
    acme: Environment, status: SubscriptionStatus, until_ms: int | None, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        set_status(acme, status, until_ms)
