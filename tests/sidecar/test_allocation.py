"""Allocation meters in the gate: what is held now, acquired and released."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.batch import Batch
from sidecar.core.book import Units, UsageBook
from sidecar.core.decided import Decided
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.core.usage import Position, PushedTotal
from sidecar.core.viewing import CustomerView, view_customer
from tests.sidecar.gate_world import (
    MOMENT,
    OUTAGE_AFTER_MS,
    START_MS,
    Driver,
    catalog,
    customer,
    hard,
    make_gate,
)
from weighbridge.rules.catalog import (
    Catalog,
    CustomerStatus,
    Entitlement,
    Feature,
    FeatureType,
    Meter,
    OutageKind,
    OutagePolicy,
    PlanVersion,
)
from weighbridge.rules.decision import DecidedBy, Reason
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rate import Rate, RatePeriod
from weighbridge.rules.units import AMOUNT_MAX
from weighbridge.rules.window import Window, WindowKind

HELD = Window(WindowKind.LIFETIME)
KEY = ("", "projects")


def held_catalog(outage: OutagePolicy | None = None, limit: int = 3) -> Catalog:
    """Return the catalog of the tests with projects on plan free, and pro without them."""
    base = catalog(2)
    projects = Feature(
        "projects",
        FeatureType.METERED,
        outage=outage or OutagePolicy(),
        meter=Meter.ALLOCATION,
    )
    granted = Entitlement("projects", limits=(hard(limit, HELD, "held"),))
    free = base.plans["free"][1]
    entitlements = {**free.entitlements, "projects": granted}
    plan = replace(free, entitlements=entitlements)
    return replace(
        base,
        features={**base.features, "projects": projects},
        plans={**base.plans, "free": {1: plan}},
    )


def driver(outage: OutagePolicy | None = None) -> Driver:
    gate = make_gate()
    gate.cache.apply_catalog(held_catalog(outage))
    return Driver(gate)


def push(gate: Gate, total: int, included: int = 0) -> None:
    totals = {KEY: [PushedTotal(HELD.key, 0, total)]}
    gate.book.push("acme", totals, {0: included}, is_whole=False)


def used(decided: Decided) -> int:
    assert decided.verdict.state is not None
    return decided.verdict.state.used


def test_what_is_released_can_be_acquired_again() -> None:
    calls = driver()
    assert calls.consume("projects", 3).verdict.allowed
    assert calls.consume("projects").verdict.reason is Reason.LIMIT_REACHED
    released = calls.consume("projects", -2)
    assert (released.verdict.allowed, released.verdict.overage, released.is_recorded) == (
        True,
        0,
        True,
    )
    assert calls.consume("projects", 3).verdict.allowed_amount == 2
    assert calls.consume("projects", 2).verdict.allowed
    assert not calls.check("projects").verdict.allowed


def test_a_release_passes_below_a_limit_that_was_lowered() -> None:
    calls = driver()
    calls.consume("projects", 3)
    calls.gate.cache.apply_catalog(replace(held_catalog(limit=1), version=3))
    assert not calls.check("projects").verdict.allowed
    for _ in range(2):
        assert calls.consume("projects", -1).verdict.allowed
    assert calls.consume("projects").verdict.reason is Reason.LIMIT_REACHED
    calls.consume("projects", -1)
    assert calls.consume("projects").verdict.allowed


@pytest.mark.parametrize("feature", ["api.calls", "unlimited", "sso"])
@pytest.mark.parametrize("kind", [Kind.CONSUME, Kind.REPORT])
def test_nothing_else_is_released(feature: str, kind: Kind) -> None:
    with pytest.raises(InvalidArgumentError, match=r"amount|feature"):
        driver().ask(Request(kind, "acme", "", feature, -1))


def test_a_negative_amount_names_the_field_on_any_plan() -> None:
    calls = driver()
    calls.gate.cache.apply_customer(customer(version=2, plan="pro"))
    with pytest.raises(InvalidArgumentError) as caught:
        calls.consume("tokens", -1)
    assert caught.value.field == "amount"
    assert "tokens" in str(caught.value)


def test_a_release_is_taken_when_the_plan_has_the_feature_no_more() -> None:
    calls = driver()
    calls.consume("projects", 2)
    calls.gate.cache.apply_customer(customer(version=2, plan="pro"))
    assert calls.consume("projects").verdict.reason is Reason.FEATURE_NOT_IN_PLAN
    assert calls.consume("projects", -1).verdict.allowed
    calls.gate.cache.apply_customer(customer(version=3, status=CustomerStatus.ARCHIVED))
    assert calls.consume("projects").verdict.reason is Reason.CUSTOMER_ARCHIVED
    assert calls.consume("projects", -1).is_recorded
    calls.gate.cache.apply_customer(customer(version=4))
    assert used(calls.check("projects")) == 0


def test_a_release_for_nobody_known_is_refused() -> None:
    calls = driver()
    outcome = calls.ask(Request(Kind.CONSUME, "acme", "nowhere", "projects", -1))
    assert isinstance(outcome, Decided)
    assert outcome.verdict.reason is Reason.RESOURCE_UNKNOWN
    assert calls.consume("unheard-of", -1).verdict.reason is Reason.FEATURE_UNKNOWN


def test_what_is_held_is_never_shown_below_nothing() -> None:
    calls = driver()
    assert calls.consume("projects", -2).verdict.allowed
    assert used(calls.check("projects")) == 0
    assert not calls.check("projects", 4).verdict.allowed
    view = view_customer(calls.gate, "acme", "", calls.moment)
    assert isinstance(view, CustomerView)
    states = next(each.states for each in view.features if each.feature.id == "projects")
    assert [state.used for state in states] == [0]
    # The acquisition, made elsewhere, arrives: the two make nothing.
    push(calls.gate, 2)
    assert used(calls.check("projects")) == 0
    assert calls.consume("projects", 3).verdict.allowed
    assert not calls.check("projects").verdict.allowed


def test_a_release_takes_nothing_of_a_rate() -> None:
    gate = make_gate()
    base = held_catalog()
    rated = Entitlement(
        "projects", limits=(hard(9, HELD, "held"),), rates=(Rate("fast", 2, RatePeriod.MINUTE, 2),)
    )
    free = base.plans["free"][1]
    plan = PlanVersion("free", 1, "Free", {**free.entitlements, "projects": rated})
    gate.cache.apply_catalog(replace(base, plans={"free": {1: plan}}))
    calls = Driver(gate)
    assert calls.consume("projects", 2).verdict.allowed
    assert calls.consume("projects").verdict.reason is Reason.RATE_LIMITED
    assert calls.consume("projects", -2).verdict.allowed
    assert calls.consume("projects").verdict.reason is Reason.RATE_LIMITED
    calls.later(30_000)
    assert calls.consume("projects").verdict.allowed


@pytest.mark.parametrize(
    "policy",
    [OutagePolicy(OutageKind.DENY), OutagePolicy(OutageKind.SAFE_CAPACITY, 1)],
    ids=lambda policy: policy.kind.value,
)
def test_no_outage_policy_refuses_a_release(policy: OutagePolicy) -> None:
    calls = driver(policy)
    calls.consume("projects", 2)
    calls.later(OUTAGE_AFTER_MS)
    released = calls.consume("projects", -2)
    assert (released.verdict.allowed, released.is_recorded) == (True, True)
    # What is held may grow back to where it was, and by the capacity.
    admitted = sum(calls.consume("projects").verdict.allowed for _ in range(5))
    assert admitted == (0 if policy.kind is OutageKind.DENY else 3)


def test_in_an_outage_a_release_is_taken_for_a_customer_that_is_not_loaded() -> None:
    calls = driver()
    calls.later(OUTAGE_AFTER_MS)
    outcome = calls.ask(Request(Kind.CONSUME, "stranger", "", "projects", -1))
    assert isinstance(outcome, Decided)
    assert (outcome.is_recorded, outcome.decided_by) == (True, DecidedBy.OUTAGE_POLICY)


def test_calls_of_a_batch_are_summed_with_their_signs() -> None:
    batch = Batch(driver().gate, Position(0, 1), MOMENT)
    for amount in (3, -2, 1, -1):
        assert isinstance(
            batch.decide(Request(Kind.CONSUME, "acme", "", "projects", amount)), Decided
        )
    assert [(entry.amount, entry.calls) for entry in batch.entries] == [(1, 4)]


def test_a_negative_amount_of_an_unknown_feature_is_kept_apart() -> None:
    gate = driver().gate
    moment = Moment(START_MS, MOMENT.boot_ms + OUTAGE_AFTER_MS)
    batch = Batch(gate, Position(0, 1), moment)
    for amount in (-1, 5, -1):
        batch.decide(Request(Kind.REPORT, "stranger", "", "projects", amount))
    assert [(entry.amount, entry.calls) for entry in batch.entries] == [(-1, 1), (5, 1), (-1, 1)]


def test_a_key_gives_the_first_answer_to_a_release_too() -> None:
    calls = driver()
    calls.consume("projects", 3)
    calls.consume("projects", -1, key="gone")
    outcome = calls.ask(Request(Kind.CONSUME, "acme", "", "projects", -1, key="gone"))
    assert not isinstance(outcome, Decided)
    assert used(calls.check("projects")) == 2


amounts = st.integers(-4, 4)


@given(st.lists(amounts, max_size=30), st.lists(amounts, max_size=10))
def test_a_batch_that_is_undone_leaves_no_trace(kept: list[int], undone: list[int]) -> None:
    calls = driver()
    push(calls.gate, 1)
    total = 1
    for amount in kept:
        total += amount if calls.consume("projects", amount).verdict.allowed else 0
    batch = Batch(calls.gate, Position(0, 1_000), calls.moment)
    for amount in undone:
        batch.decide(Request(Kind.CONSUME, "acme", "", "projects", amount))
    batch.rollback()
    assert used(calls.check("projects")) == max(total, 0)
    assert calls.consume("projects", 3).verdict.allowed is (max(total, 0) == 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["own", "other", "push"]), st.integers(-AMOUNT_MAX, AMOUNT_MAX)),
        max_size=40,
    )
)
def test_the_sum_is_right_in_every_order_of_acquiring_releasing_and_pushing(
    script: list[tuple[str, int]],
) -> None:
    book = UsageBook()
    entitlement = Entitlement("projects", limits=(hard(3, HELD, "held"),))
    own: list[int] = []
    others = known = included = 0
    for what, amount in script:
        if what == "own":
            own.append(amount)
            book.record("acme", KEY, Position(0, len(own)), Units(START_MS, amount))
        elif what == "other":
            others += amount
        else:
            included = max(included, amount % (len(own) + 1))
            known = others + sum(own[:included])
            totals = {KEY: [PushedTotal(HELD.key, 0, known)]}
            book.push("acme", totals, {0: included}, is_whole=False)
        states, _ = book.open("acme", KEY).states(entitlement, 0, START_MS)
        assert states[0].used == known + sum(own[included:])
