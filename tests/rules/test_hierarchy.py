"""What customers have under others: inherited, bounded, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_values import add_on, calls, granting, limit, override

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
from weighbridge.rules.granting import (
    Grant,
    Level,
    NoGrant,
    bounded,
    grant_of,
    level_of,
    lineage,
)

CATALOG = Catalog(
    id="shop",
    version=1,
    features={
        "calls": Feature("calls", FeatureType.METERED),
        "seats": Feature("seats", FeatureType.NUMBER),
        "regions": Feature("regions", FeatureType.ENUM, values=("eu", "us")),
        "sso": Feature("sso", FeatureType.BOOLEAN),
    },
    plans={
        "small": {
            1: PlanVersion(
                "small",
                1,
                "Small",
                granting(
                    calls(limit("month", 100)),
                    Entitlement("seats", number=5),
                    Entitlement("regions", values=("eu",)),
                ),
            )
        },
        "large": {
            1: PlanVersion(
                "large",
                1,
                "Large",
                granting(
                    calls(limit("month", 1000), limit("day", 50)),
                    Entitlement("seats"),
                    Entitlement("regions", values=("us", "eu")),
                    Entitlement("sso"),
                ),
            )
        },
    },
    add_ons={"pack": add_on(calls(limit("month", 50)))},
)
COMPILER = PlanCompiler(CATALOG)
AT_MS = 1_000


def on(plan: str, **changes: Any) -> Subscription:
    made = Subscription("s", "", plan, None, (), SubscriptionStatus.ACTIVE, 7, 0)
    return replace(made, **changes)


def someone(name: str, *subscriptions: Subscription, **changes: Any) -> Customer:
    made = Customer(name, 1, CustomerStatus.ACTIVE, "shop", subscriptions=subscriptions)
    return replace(made, **changes)


def above(*customers: Customer, at_ms: int = AT_MS) -> Level | None:
    """Return the level of the last; the first is the topmost."""
    level: Level | None = None
    for each in customers:
        level = level_of(COMPILER, each, level, at_ms)
    return level


def grant(*customers: Customer, resource: str = "", at_ms: int = AT_MS) -> Grant | NoGrant:
    *others, leaf = customers
    return grant_of(COMPILER, leaf, resource, at_ms, above(*others, at_ms=at_ms))


def granted(*customers: Customer, at_ms: int = AT_MS) -> Grant:
    found = grant(*customers, at_ms=at_ms)
    assert isinstance(found, Grant), found
    return found


def test_a_customer_without_a_plan_inherits_that_of_the_nearest_above() -> None:
    top, team = someone("top", on("large")), someone("team", on("small", anchor_ms=9))
    found = granted(top, team, someone("lead"), someone("ann"))
    assert (found.plan.plan, found.inherited_from) == ("small", "team")
    assert found.subscription.anchor_ms == 9
    # The limits stay those of whom they were granted to.
    assert found.entitlements["calls"].limits == ()
    bounds = bounded(found, "calls")
    assert [(level.customer, said.limits[0].limit) for level, said in bounds.levels] == [
        ("team", 100),
        ("top", 1000),
    ]


def test_its_own_overrides_are_its_own_limits() -> None:
    found = granted(
        someone("top", on("small")),
        someone("ann", overrides=(override(calls(limit("month", 3))),)),
    )
    assert [each.limit for each in found.entitlements["calls"].limits] == [3]
    assert found.entitlements["seats"].number == 5


def test_its_own_plan_stands_alone_and_is_bounded() -> None:
    found = granted(someone("top", on("small")), someone("ann", on("large")))
    assert (found.plan.plan, found.inherited_from) == ("large", "")
    assert bounded(found, "seats") == (
        Entitlement("seats", number=5),
        "top",
        bounded(found, "seats").levels,
    )
    assert bounded(found, "regions").entitlement == Entitlement("regions", values=("eu",))
    assert bounded(found, "sso")[:2] == (None, "top")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (CustomerStatus.REVOKED, Reason.REVOKED),
        (CustomerStatus.ARCHIVED, Reason.CUSTOMER_ARCHIVED),
    ],
)
def test_whoever_is_not_served_serves_nobody_below(status: CustomerStatus, reason: Reason) -> None:
    team = someone("team", status=status)
    found = grant(someone("top", on("small")), team, someone("ann", on("large")))
    assert found == NoGrant(reason, None, "team")


def test_a_subscription_that_stands_still_refuses_itself_and_all_below() -> None:
    paused = on("small", status=SubscriptionStatus.PAUSED)
    top, team = someone("top", on("large")), someone("team", paused)
    assert grant(top, team) == NoGrant(Reason.NO_ACTIVE_SUBSCRIPTION, None)
    found = grant(top, team, someone("ann", on("large")))
    assert found == NoGrant(Reason.NO_ACTIVE_SUBSCRIPTION, None, "team")


def test_one_that_ended_or_was_canceled_leaves_what_is_inherited() -> None:
    top = someone("top", on("small"))
    for over in (on("large", status=SubscriptionStatus.CANCELED), on("large", ends_at_ms=AT_MS)):
        assert granted(top, someone("ann", over)).inherited_from == "top"


def test_a_trial_that_ended_above_is_the_reason_where_nobody_has_a_plan() -> None:
    trial = on("large", is_trial=True, ends_at_ms=AT_MS - 1)
    found = grant(someone("top", trial), someone("team"), someone("ann"))
    assert found == NoGrant(Reason.TRIAL_ENDED, None, "top")
    own = grant(someone("top", trial), someone("ann", trial))
    assert own == NoGrant(Reason.TRIAL_ENDED, None)
    none = grant(someone("top"), someone("ann"))
    assert none == NoGrant(Reason.NO_ACTIVE_SUBSCRIPTION, None)


def test_a_grouping_customer_says_nothing_but_its_overrides() -> None:
    group = someone("group", overrides=(override(calls(limit("day", 8))),))
    found = granted(someone("plain"), group, someone("ann", on("large")))
    assert [(level.customer, said.limits) for level, said in bounded(found, "calls").levels] == [
        ("group", (limit("day", 8),))
    ]
    assert bounded(found, "sso").levels == ()
    off = someone("group", overrides=(override(Entitlement("sso", enabled=False)),))
    assert bounded(granted(off, someone("ann", on("large"))), "sso") == (None, "group", ())


def test_an_override_cannot_bring_what_those_above_lack() -> None:
    ann = someone("ann", overrides=(override(Entitlement("sso")),))
    assert bounded(granted(someone("top", on("small")), ann), "sso")[:2] == (None, "top")
    off = someone("ann", overrides=(override(Entitlement("calls", enabled=False)),))
    assert bounded(granted(someone("top", on("small")), off), "calls")[:2] == (None, "")


def test_a_resource_inherits_nothing_and_is_bounded() -> None:
    top = someone("top", on("small"))
    bare = someone("ann", resources=("ws",))
    found = grant(top, bare, resource="ws")
    assert found == NoGrant(Reason.NO_ACTIVE_SUBSCRIPTION, None)
    found = grant(top, replace(bare, subscriptions=(on("large", resource="ws"),)), resource="ws")
    assert isinstance(found, Grant)
    assert bounded(found, "sso").limited_by == "top"


def test_what_changes_above_changes_what_is_below() -> None:
    top = someone("top", on("small", ends_at_ms=5_000))
    mid = someone("mid", overrides=(override(calls(limit("day", 8)), starts_at_ms=3_000),))
    assert granted(top, mid, someone("ann")).changes_at_ms == 3_000
    assert granted(top, mid, someone("ann"), at_ms=3_000).changes_at_ms == 5_000
    assert grant(top, mid, someone("ann"), at_ms=5_000).changes_at_ms is None


subscriptions = st.lists(
    st.builds(
        on,
        st.sampled_from(["small", "large"]),
        status=st.sampled_from(SubscriptionStatus),
        ends_at_ms=st.sampled_from([None, AT_MS, AT_MS + 1]),
        add_ons=st.sampled_from([(), (SubscribedAddOn("pack", 2),)]),
    ),
    max_size=1,
).map(tuple)
overrides = st.lists(
    st.builds(
        Override,
        st.just("o"),
        st.just(""),
        st.one_of(
            st.integers(0, 200).map(lambda size: calls(limit("month", size))),
            st.integers(0, 20).map(lambda number: Entitlement("seats", number=number)),
            st.booleans().map(lambda enabled: Entitlement("sso", enabled=enabled)),
        ),
    ),
    max_size=2,
).map(tuple)
chains = st.lists(
    st.builds(
        lambda subs, over, status: someone("x", *subs, overrides=over, status=status),
        subscriptions,
        overrides,
        st.sampled_from([CustomerStatus.ACTIVE] * 4 + [CustomerStatus.REVOKED]),
    ),
    min_size=2,
    max_size=6,
).map(lambda chain: [replace(each, id=f"c{i}") for i, each in enumerate(chain)])


@given(chains, st.sampled_from(sorted(CATALOG.features)))
def test_nobody_has_more_than_anybody_above(chain: list[Customer], feature: str) -> None:
    leaf = grant(*chain)
    if isinstance(leaf, NoGrant):
        return
    mine = bounded(leaf, feature)
    for level in lineage(leaf.above):
        assert level.reason is None
        said = level.said(feature)
        if said is None or mine.entitlement is None:
            continue
        assert said.enabled
        assert (level, said) in mine.levels
        if said.number is not None:
            assert mine.entitlement.number is not None
            assert mine.entitlement.number <= said.number
        if said.values:
            assert set(mine.entitlement.values) <= set(said.values)


@given(chains)
def test_who_has_nobody_above_is_as_if_there_were_no_hierarchy(chain: list[Customer]) -> None:
    top = chain[0]
    alone = grant_of(COMPILER, top, "", AT_MS)
    level = level_of(COMPILER, top, None, AT_MS)
    if isinstance(alone, Grant):
        assert level.grant == alone
        assert alone.above is None
        assert level.anchor_ms == alone.subscription.anchor_ms
    else:
        assert level.grant is None


@given(chains)
def test_a_refusal_names_the_nearest_that_refuses(chain: list[Customer]) -> None:
    found = grant(*chain)
    if isinstance(found, NoGrant) and found.limited_by:
        levels = {level.customer: level for level in lineage(above(*chain[:-1]))}
        level = levels[found.limited_by]
        assert level.reason is found.reason or level.has_trial_ended
