"""An explanation comes to what decides, and says which part gave what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
    Limit,
    Migration,
    Override,
    PlanVersion,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
    VersionStep,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.explanation import (
    Explanation,
    Step,
    StepKind,
    Timing,
    VersionChoice,
    explain,
)
from weighbridge.rules.granting import (
    Bounded,
    Grant,
    NoGrant,
    bounded,
    grant_of,
    level_of,
    lineage,
)
from weighbridge.rules.lifecycle import period_end_ms

AT_MS = 10_000
SEATED = replace(limit("month", 10), per_seat=True)


def plan(version: int, *limits: Limit) -> PlanVersion:
    return PlanVersion("pro", version, "Pro", granting(calls(*limits), Entitlement("sso")))


CATALOG = Catalog(
    id="shop",
    version=1,
    features={
        "calls": Feature("calls", FeatureType.METERED),
        "sso": Feature("sso", FeatureType.BOOLEAN),
        "seats": Feature("seats", FeatureType.NUMBER),
    },
    plans={
        "pro": {1: plan(1, SEATED), 2: plan(2, SEATED, limit("day", 5))},
        "bare": {1: PlanVersion("bare", 1, "Bare", granting(Entitlement("seats", number=3)))},
    },
    add_ons={
        "pack": add_on(calls(limit("month", 7))),
        "other": add_on(Entitlement("seats", number=2), name="other"),
    },
    steps={"pro": (VersionStep(1, 0), VersionStep(2, 5_000, Migration.AT_PERIOD_END))},
)
COMPILER = PlanCompiler(CATALOG)


def on(plan: str = "pro", **changes: Any) -> Subscription:
    made = Subscription("s", "", plan, None, (), SubscriptionStatus.ACTIVE, 0, 0)
    return replace(made, **changes)


def someone(name: str = "ann", *subscriptions: Subscription, **changes: Any) -> Customer:
    made = Customer(name, 1, CustomerStatus.ACTIVE, "shop", subscriptions=subscriptions)
    return replace(made, **changes)


def explained(*chain: Customer, feature: str = "calls", resource: str = "") -> Explanation:
    return explain(COMPILER, chain, resource, feature, AT_MS)


def kinds(explanation: Explanation) -> list[tuple[str, str]]:
    return [(step.customer, step.kind.value) for step in explanation.steps]


def limits_of(step: Step) -> dict[str, int | None]:
    assert step.entitlement is not None
    return {each.id: each.limit for each in step.entitlement.limits}


def test_each_part_says_what_it_gave() -> None:
    bought = (SubscribedAddOn("pack", 2), SubscribedAddOn("other"))
    overrides = (
        override(calls(limit("day", 1)), starts_at_ms=AT_MS + 1),
        override(calls(limit("month", 9)), expires_at_ms=AT_MS),
        override(calls(limit("day", 2))),
        override(Entitlement("sso", enabled=False)),
    )
    found = explained(someone("ann", on(quantity=3, add_ons=bought), overrides=overrides))
    seats = (step for step in found.steps if step.kind is StepKind.SEATS)
    assert next(seats).quantity == 3
    assert [(step.kind, step.timing, limits_of(step)) for step in found.steps] == [
        (StepKind.PLAN, None, {"month": 10}),
        (StepKind.SEATS, None, {"month": 30}),
        (StepKind.ADD_ON, None, {"month": 44}),
        (StepKind.OVERRIDE, Timing.PENDING, {"month": 44}),
        (StepKind.OVERRIDE, Timing.EXPIRED, {"month": 44}),
        (StepKind.OVERRIDE, Timing.ACTIVE, {"month": 44, "day": 2}),
    ]
    assert (found.reason, found.limited_by) == (None, "")


def test_why_a_subscription_is_on_its_version() -> None:
    def first(subscription: Subscription) -> tuple[int | None, VersionChoice | None, int | None]:
        step = explained(someone("ann", subscription)).steps[0]
        return step.plan_version, step.choice, step.changes_at_ms

    assert first(on(plan_version=1)) == (1, VersionChoice.KEPT, None)
    assert first(on()) == (1, VersionChoice.WAITS, period_end_ms(0, 5_000))
    assert first(on(starts_at_ms=6_000)) == (2, VersionChoice.NEWEST, None)
    steps = {"pro": (VersionStep(1, 0), VersionStep(2, 5_000, Migration.NEW_CUSTOMERS))}
    compiler = PlanCompiler(replace(CATALOG, steps=steps))
    step = explain(compiler, [someone("ann", on())], "", "calls", AT_MS).steps[0]
    assert (step.plan_version, step.choice) == (1, VersionChoice.LEFT_BEHIND)


def test_what_is_inherited_and_who_bounds_it() -> None:
    team = someone("team", overrides=(override(calls(limit("day", 4))),))
    ann = someone("ann", overrides=(override(calls(limit("month", 3))),))
    found = explained(ann, team, someone("acme", on(starts_at_ms=6_000)))
    assert kinds(found) == [
        ("ann", "no_subscription"),
        ("ann", "inherited"),
        ("ann", "override"),
        ("team", "no_subscription"),
        ("team", "override"),
        ("team", "bound"),
        ("acme", "plan"),
        ("acme", "seats"),
        ("acme", "bound"),
    ]
    assert found.steps[1].ancestor == "acme"
    assert limits_of(found.steps[2]) == {"month": 3}


def test_who_refuses_is_told() -> None:
    revoked = someone("acme", on(), status=CustomerStatus.REVOKED)
    found = explained(someone("ann", on()), revoked)
    assert (found.reason, found.limited_by) == (Reason.REVOKED, "acme")
    assert found.steps[-1] == Step(StepKind.REFUSED, "acme", reason=Reason.REVOKED)
    own = explained(revoked)
    assert own.steps == (Step(StepKind.REFUSED, "acme", reason=Reason.REVOKED),)
    none = explained(someone("ann"))
    assert none.steps == (
        Step(StepKind.NO_SUBSCRIPTION, "ann", reason=Reason.NO_ACTIVE_SUBSCRIPTION),
    )
    assert explained(someone("ann", on("bare"))).reason is Reason.FEATURE_NOT_IN_PLAN
    lacking = explained(someone("ann", on()), someone("acme", on("bare")))
    assert (lacking.reason, lacking.limited_by) == (Reason.FEATURE_NOT_IN_PLAN, "acme")
    ghost = explained(someone("ann", on("gone")))
    assert ghost.reason is Reason.NO_ACTIVE_SUBSCRIPTION


def test_a_resource_is_explained_by_its_own() -> None:
    ann = someone("ann", on(resource="ws"), resources=("ws",))
    assert kinds(explained(ann, resource="ws")) == kinds(explained(someone("ann", on())))
    assert explained(ann, resource="other").steps[0].kind is StepKind.REFUSED


subscriptions = st.lists(
    st.builds(
        on,
        st.sampled_from(["pro", "bare", "gone"]),
        plan_version=st.sampled_from([None, 1]),
        status=st.sampled_from(SubscriptionStatus),
        starts_at_ms=st.sampled_from([0, 6_000]),
        ends_at_ms=st.sampled_from([None, AT_MS]),
        quantity=st.integers(1, 3),
        is_trial=st.booleans(),
        add_ons=st.lists(
            st.builds(SubscribedAddOn, st.sampled_from(["pack", "other"]), st.integers(1, 3)),
            max_size=2,
            unique_by=lambda each: each.add_on,
        ).map(tuple),
    ),
    max_size=1,
).map(tuple)
overrides = st.lists(
    st.builds(
        Override,
        st.just("o"),
        st.just(""),
        st.one_of(
            st.integers(0, 20).map(lambda size: calls(limit("month", size))),
            st.integers(0, 20).map(lambda size: calls(limit("day", size))),
            st.just(calls()),
            st.booleans().map(lambda enabled: Entitlement("calls", enabled=enabled)),
            st.integers(0, 5).map(lambda number: Entitlement("seats", number=number)),
        ),
        st.sampled_from([None, AT_MS + 1]),
        st.sampled_from([None, AT_MS]),
    ),
    max_size=3,
).map(tuple)
chains = st.lists(
    st.builds(
        lambda subs, over, status: someone("x", *subs, overrides=over, status=status),
        subscriptions,
        overrides,
        st.sampled_from([CustomerStatus.ACTIVE] * 5 + [CustomerStatus.ARCHIVED]),
    ),
    min_size=1,
    max_size=4,
).map(lambda chain: [replace(each, id=f"c{i}") for i, each in enumerate(chain)])


@given(chains, st.sampled_from(sorted(CATALOG.features)))
def test_an_explanation_comes_to_what_decides(chain: list[Customer], feature: str) -> None:
    found = explain(COMPILER, chain, "", feature, AT_MS)
    above = None
    for ancestor in reversed(chain[1:]):
        above = level_of(COMPILER, ancestor, above, AT_MS)
    grant = grant_of(COMPILER, chain[0], "", AT_MS, above)
    last: dict[str, Step] = {step.customer: step for step in found.steps}
    if isinstance(grant, NoGrant):
        assert (found.reason, found.limited_by) == (grant.reason, grant.limited_by)
        assert found.bounds == Bounded(None)
    else:
        assert isinstance(found.grant, Grant)
        assert last[chain[0].id].entitlement == grant.entitlements.get(feature)
        expected = bounded(grant, feature)
        assert found.bounds.entitlement == expected.entitlement
        assert found.limited_by == expected.limited_by
        assert [each for _, each in found.bounds.levels] == [each for _, each in expected.levels]
    for level in lineage(above):
        step = last[level.customer]
        if level.reason is not None:
            assert step.reason is level.reason
        elif level.said(feature) is not None:
            assert (step.kind, step.entitlement) == (StepKind.BOUND, level.said(feature))
        else:
            assert step.kind is not StepKind.BOUND
