"""What customers get of plans, add-ons and overrides, and when that changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_values import add_on, calls, granting, limit, numbers, override

from weighbridge.rules.catalog import (
    Catalog,
    Customer,
    CustomerStatus,
    Entitlement,
    Feature,
    FeatureType,
    Override,
    PlanVersion,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.granting import Grant, NoGrant, grant_of


def subscription(**changes: Any) -> Subscription:
    made = Subscription("s1", "", "pro", None, (), SubscriptionStatus.ACTIVE, 0, 0)
    return replace(made, **changes)


def customer(*subscriptions: Subscription, **changes: Any) -> Customer:
    made = Customer("acme", 1, CustomerStatus.ACTIVE, "shop", subscriptions=subscriptions)
    return replace(made, **changes)


def plan(name: str, version: int, *entitlements: Entitlement) -> PlanVersion:
    return PlanVersion(name, version, name.title(), granting(*entitlements))


CATALOG = Catalog(
    id="shop",
    version=1,
    features={"calls": Feature("calls", FeatureType.METERED)},
    plans={
        "pro": {
            1: plan("pro", 1, calls(limit("month", 100))),
            3: plan("pro", 3, calls(limit("month", 300))),
        },
        "retired": {},
    },
    add_ons={"pack": add_on(calls(limit("month", 50)))},
)


def granted(who: Customer, at_ms: int = 10, resource: str = "") -> Grant:
    grant = grant_of(PlanCompiler(CATALOG), who, resource, at_ms)
    assert isinstance(grant, Grant)
    return grant


def not_granted(who: Customer, at_ms: int = 10, resource: str = "") -> NoGrant:
    grant = grant_of(PlanCompiler(CATALOG), who, resource, at_ms)
    assert isinstance(grant, NoGrant)
    return grant


def month_limit(grant: Grant) -> int | None:
    return grant.entitlements["calls"].limits[0].limit


def test_a_subscription_follows_or_keeps_its_plan_version() -> None:
    assert month_limit(granted(customer(subscription()))) == 300
    assert month_limit(granted(customer(subscription(plan_version=1)))) == 100


def test_add_ons_and_overrides_come_on_top() -> None:
    with_pack = subscription(add_ons=(SubscribedAddOn("pack", 2), SubscribedAddOn("gone", 1)))
    assert month_limit(granted(customer(with_pack))) == 400

    own = override(calls(limit("month", 7)))
    assert month_limit(granted(customer(with_pack, overrides=(own,)))) == 7


def test_equal_purchases_are_compiled_once() -> None:
    compiler = PlanCompiler(CATALOG)
    first = grant_of(compiler, customer(subscription()), "", 10)
    second = grant_of(compiler, customer(subscription(id="s2"), id="other"), "", 10)

    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    assert first.entitlements is second.entitlements


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (CustomerStatus.REVOKED, Reason.REVOKED),
        (CustomerStatus.ARCHIVED, Reason.CUSTOMER_ARCHIVED),
    ],
)
def test_a_customer_who_is_not_active_has_nothing(status: CustomerStatus, reason: Reason) -> None:
    assert not_granted(customer(subscription(), status=status)).reason is reason


@pytest.mark.parametrize(
    "subscriptions",
    [
        (),
        (subscription(status=SubscriptionStatus.CANCELED),),
        (subscription(starts_at_ms=11),),
        (subscription(ends_at_ms=10),),
        (subscription(plan="unheard-of"),),
        (subscription(plan="retired"),),
        (subscription(resource="other"),),
    ],
)
def test_without_a_subscription_there_is_nothing(subscriptions: tuple[Subscription, ...]) -> None:
    reason = not_granted(customer(*subscriptions, resources=("other",))).reason

    assert reason is Reason.NO_ACTIVE_SUBSCRIPTION


def test_a_resource_has_a_subscription_and_overrides_of_its_own() -> None:
    who = customer(
        subscription(),
        subscription(id="s2", resource="west", plan_version=1),
        resources=("west", "east"),
        overrides=(override(calls(limit("month", 7))),),
    )

    assert month_limit(granted(who)) == 7
    assert month_limit(granted(who, resource="west")) == 100
    assert not_granted(who, resource="east").reason is Reason.NO_ACTIVE_SUBSCRIPTION
    assert not_granted(who, resource="north").reason is Reason.RESOURCE_UNKNOWN


def test_what_is_granted_changes_at_the_instants_it_names() -> None:
    who = customer(
        subscription(id="s1", plan_version=1, starts_at_ms=100, ends_at_ms=200),
        subscription(id="s2", starts_at_ms=200),
        subscription(id="s3", resource="west", starts_at_ms=120),
        overrides=(override(calls(limit("month", 7)), starts_at_ms=150, expires_at_ms=160),),
    )
    compiler = PlanCompiler(CATALOG)
    seen: list[tuple[int, object]] = []
    at_ms: int | None = 0
    while at_ms is not None:
        grant = grant_of(compiler, who, "", at_ms)
        seen.append((at_ms, month_limit(grant) if isinstance(grant, Grant) else grant.reason))
        at_ms = grant.changes_at_ms

    assert seen == [
        (0, Reason.NO_ACTIVE_SUBSCRIPTION),
        (100, 100),
        (150, 7),
        (160, 100),
        (200, 300),
    ]


edges = st.one_of(st.none(), st.integers(0, 12))


@given(
    st.lists(st.builds(lambda a, b: subscription(starts_at_ms=a or 0, ends_at_ms=b), edges, edges)),
    st.lists(
        st.builds(
            lambda a, b, size: override(
                calls(limit("month", size)), starts_at_ms=a, expires_at_ms=b
            ),
            edges,
            edges,
            numbers,
        )
    ),
    st.integers(0, 12),
)
def test_nothing_changes_before_the_instant_it_names(
    subscriptions: list[Subscription], overrides: list[Override], at_ms: int
) -> None:
    who = customer(*subscriptions, overrides=tuple(overrides))
    compiler = PlanCompiler(CATALOG)
    grant = grant_of(compiler, who, "", at_ms)
    until_ms = 20 if grant.changes_at_ms is None else grant.changes_at_ms

    assert until_ms > at_ms
    for later_ms in range(at_ms, until_ms):
        assert grant_of(compiler, who, "", later_ms) == grant


def test_seats_multiply_the_limits_that_are_per_seat_and_nothing_else() -> None:
    per_seat = replace(limit("month", 100), per_seat=True)
    seated = plan("pro", 1, calls(per_seat, limit("day", 7)))
    pack = (SubscribedAddOn("pack", 2),)
    of = replace(CATALOG, plans={"pro": {1: seated}})
    who = customer(subscription(quantity=3, add_ons=pack))
    grant = grant_of(PlanCompiler(of), who, "", 0)
    assert isinstance(grant, Grant)
    month, day = grant.entitlements["calls"].limits
    assert (month.limit, month.per_seat, day.limit) == (400, False, 7)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.TRIAL_ENDED),
        ({"status": SubscriptionStatus.PAUSED}, Reason.TRIAL_ENDED),
        ({"status": SubscriptionStatus.CANCELED}, Reason.NO_ACTIVE_SUBSCRIPTION),
        ({"is_trial": False}, Reason.NO_ACTIVE_SUBSCRIPTION),
        ({"ends_at_ms": None, "status": SubscriptionStatus.PAUSED}, Reason.NO_ACTIVE_SUBSCRIPTION),
    ],
)
def test_a_trial_that_came_to_its_end_is_the_reason(
    changes: dict[str, Any], reason: Reason
) -> None:
    trial = subscription(**{"is_trial": True, "ends_at_ms": 10, **changes})
    assert not_granted(customer(trial)).reason is reason
