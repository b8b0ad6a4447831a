"""Trials and what follows them, and limits per seat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from provisioned import CATALOG, NOW_MS, Environment

from control_plane import provisioning
from control_plane.provisioning import ChangeTime, WantedSubscription
from weighbridge.rules.catalog import SubscribedAddOn
from weighbridge.rules.decision import Reason
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.errors import InvalidArgumentError, NotFoundError
from weighbridge.rules.granting import NoGrant, grant_of

DAY_MS = 86_400_000
ENDS_MS = NOW_MS + 14 * DAY_MS


def with_trial(at_end: str) -> str:
    return CATALOG.replace(
        "  pro:\n", f"  pro:\n    trial: {{days: 14, at_end: {at_end}}}\n"
    ).replace("limit: 1000, window", "limit: 1000, per_seat: true, window")


def put_on(of: Environment, plan: str = "pro", **terms: Any) -> None:
    wanted = replace(WantedSubscription("acme", plan), **terms)
    with of.database.writing() as connection:
        provisioning.set_subscription(connection, of.library, wanted, of.now_ms)


def has(of: Environment, at_ms: int | None = None) -> tuple[str, int | None] | Reason:
    """Return plan and monthly limit at an instant as a sidecar works them out, or why none."""
    with of.database.reading() as connection:
        catalog = of.library.load(connection, "api")
    at_ms = of.now_ms if at_ms is None else at_ms
    grant = grant_of(PlanCompiler(catalog), of.customer("acme"), "", at_ms)
    if isinstance(grant, NoGrant):
        return grant.reason
    return grant.plan.plan, grant.entitlements["api.calls"].limits[0].limit


def begin(environment: Environment, at_end: str) -> Environment:
    environment.apply(with_trial(at_end))
    environment.create("acme", "pro")
    return environment


def test_a_trial_that_ends(environment: Environment) -> None:
    of = begin(environment, "cancel")
    (trial,) = of.customer("acme").subscriptions
    assert (trial.is_trial, trial.ends_at_ms) == (True, ENDS_MS)
    assert has(of, ENDS_MS - 1) == ("pro", 1000)
    assert has(of, ENDS_MS) is Reason.TRIAL_ENDED
    # There is no second one for coming back.
    of.now_ms = ENDS_MS + 1
    put_on(of)
    (paid,) = of.customer("acme").subscriptions
    assert (paid.is_trial, paid.ends_at_ms, paid.anchor_ms) == (False, None, of.now_ms)
    with of.database.writing() as connection:
        provisioning.cancel_subscription(connection, "acme", "", of.now_ms)
    assert has(of) is Reason.NO_ACTIVE_SUBSCRIPTION


@pytest.mark.parametrize(("then", "limit"), [("pro", 1000), ("free", 100)])
def test_a_plan_follows_the_trial(environment: Environment, then: str, limit: int) -> None:
    of = begin(environment, then)
    trial, following = of.customer("acme").subscriptions
    assert has(of, ENDS_MS - 1) == ("pro", 1000)
    assert has(of, ENDS_MS) == (then, limit)
    assert (trial.anchor_ms, following.anchor_ms) == (NOW_MS, ENDS_MS)
    assert not following.is_trial
    version = of.customer("acme").version
    put_on(of)
    assert of.customer("acme").version == version, "as it is"


def test_terms_change_within_a_trial(environment: Environment) -> None:
    of = begin(environment, "pro")
    of.now_ms += DAY_MS
    put_on(of, quantity=3, add_ons=(SubscribedAddOn("calls_500"),))
    assert has(of) == ("pro", 3500)
    assert has(of, ENDS_MS) == ("pro", 3500)
    trial, _ = of.customer("acme").subscriptions
    assert (trial.is_trial, trial.ends_at_ms) == (True, ENDS_MS)


def test_a_trial_by_hand(environment: Environment) -> None:
    of = begin(environment, "cancel")
    of.now_ms += DAY_MS
    put_on(of, trial_days=30, trial_then="free")
    ends_ms = of.now_ms + 30 * DAY_MS
    assert (has(of, ends_ms - 1), has(of, ends_ms)) == (("pro", 1000), ("free", 100))
    put_on(of, trial_days=0)
    (paid,) = of.customer("acme").subscriptions
    assert (paid.is_trial, paid.ends_at_ms, paid.anchor_ms) == (False, None, NOW_MS)


def test_what_is_set_for_the_end_of_the_period_comes_when_the_trial_ends(
    environment: Environment,
) -> None:
    of = begin(environment, "free")
    put_on(of, when=ChangeTime.PERIOD_END)
    assert has(of, ENDS_MS) == ("pro", 1000)
    with of.database.writing() as connection:
        provisioning.cancel_subscription(connection, "acme", "", of.now_ms, ChangeTime.PERIOD_END)
    assert has(of, ENDS_MS) is Reason.TRIAL_ENDED
    put_on(of, "free")
    assert has(of) == ("free", 100)


def test_a_changed_trial_changes_nothing_for_who_tries(environment: Environment) -> None:
    of = begin(environment, "cancel")
    applied = of.apply(with_trial("free"))
    assert [(c.change.path, c.customers) for c in applied.changes] == [
        ("plans.pro.trial.at_end", 0)
    ]
    assert has(of, ENDS_MS) is Reason.TRIAL_ENDED


def test_seats_multiply_limits_and_stay(environment: Environment) -> None:
    of = begin(environment, "pro")
    put_on(of, trial_days=0, quantity=5)
    assert has(of) == ("pro", 5000)
    put_on(of, "free")
    assert has(of) == ("free", 100)
    put_on(of)
    assert has(of) == ("pro", 5000)
    put_on(of, quantity=1)
    assert has(of) == ("pro", 1000)


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ({"quantity": 0}, InvalidArgumentError, "quantity: 0 is not 1 to 1000000"),
        ({"trial_days": 367}, InvalidArgumentError, "trial_days: 367 is not 0 to 366"),
        ({"trial_days": 1, "trial_then": "gold"}, NotFoundError, "plan 'gold' is not in catalog"),
    ],
)
def test_terms_that_are_refused(
    environment: Environment, terms: dict[str, Any], error: type[Exception], message: str
) -> None:
    of = begin(environment, "cancel")
    with pytest.raises(error, match=message):
        put_on(of, **terms)
