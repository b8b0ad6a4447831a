"""Rates and observed features at the gate: what a call takes, gives back and is told."""

from __future__ import annotations

from dataclasses import replace

from sidecar.core.batch import Batch
from sidecar.core.decided import Decided
from sidecar.core.request import Kind, Request
from sidecar.core.usage import Position
from sidecar.core.viewing import CustomerView, view_customer
from tests.sidecar.gate_world import MOMENT, OUTAGE_AFTER_MS, Driver, catalog, hard
from weighbridge.rules.catalog import (
    Catalog,
    Enforcement,
    Entitlement,
    OutageKind,
    OutagePolicy,
    PlanVersion,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.rate import Rate, RatePeriod

SECOND = Rate("per_second", 2, RatePeriod.SECOND, 4)


def rated(version: int, *entitlements: Entitlement, **features: object) -> Catalog:
    """Return the catalog where plan free grants these, and features are changed so."""
    base = catalog(version)
    free = base.plans["free"][1]
    granted = {**free.entitlements, **{each.feature: each for each in entitlements}}
    plans = {**base.plans, "free": {1: replace(free, entitlements=granted)}}
    changed = {
        id_: replace(feature, **features) if features else feature  # type: ignore[arg-type]
        for id_, feature in base.features.items()
    }
    return replace(base, plans=plans, features=changed)


def driver(*rates: Rate, calls: int = 100, **features: object) -> Driver:
    made = Driver()
    entitlement = Entitlement("api.calls", limits=(hard(calls),), rates=rates)
    made.gate.cache.apply_catalog(rated(2, entitlement, **features))
    return made


def test_a_burst_passes_then_what_comes_back() -> None:
    asking = driver(SECOND)
    assert asking.consume("api.calls", 4).verdict.allowed
    refusal = asking.consume("api.calls").verdict
    assert (refusal.reason, refusal.retry_after_ms) == (Reason.RATE_LIMITED, 500)
    asking.later(499)
    assert not asking.consume("api.calls").verdict.allowed
    asking.later(1)
    assert asking.consume("api.calls").verdict.allowed
    asking.later(3_600_000)
    assert asking.check("api.calls", 4).verdict.allowed
    too_large = asking.check("api.calls", 5).verdict
    assert (too_large.reason, too_large.retry_after_ms) == (Reason.RATE_LIMITED, None)
    assert too_large.allowed_amount == 4


def test_refused_calls_and_checks_take_nothing() -> None:
    asking = driver(SECOND, Rate("per_hour", 3, RatePeriod.HOUR, 3))
    for _ in range(5):
        assert not asking.consume("api.calls", 4).verdict.allowed, "the hour refuses it"
        assert asking.check("api.calls", 3).verdict.allowed
    assert asking.consume("api.calls", 3).verdict.allowed
    used = asking.check("api.calls", 0).verdict.state
    assert used is not None
    assert used.used == 3


def test_a_limit_that_refuses_leaves_the_rate_alone() -> None:
    asking = driver(SECOND, calls=3)
    refusal = asking.consume("api.calls", 4).verdict
    assert refusal.reason is Reason.LIMIT_REACHED
    assert asking.consume("api.calls", 3).verdict.allowed


def test_a_batch_that_could_not_be_written_gives_back() -> None:
    asking = driver(SECOND)
    batch = Batch(asking.gate, Position(0, 1), MOMENT)
    request = Request(Kind.CONSUME, "acme", "", "api.calls", 2)
    for _ in range(2):
        decided = batch.decide(request)
        assert isinstance(decided, Decided)
        assert decided.verdict.allowed
    third = batch.decide(request)
    assert isinstance(third, Decided)
    assert third.verdict.reason is Reason.RATE_LIMITED, "calls of one batch see each other"
    batch.rollback()
    assert asking.consume("api.calls", 4).verdict.allowed


def test_a_report_takes_what_is_there_and_is_never_refused() -> None:
    asking = driver(SECOND)
    report = asking.report("api.calls", 50)
    assert (report.verdict.allowed, report.verdict.overage) == (True, 0)
    assert asking.check("api.calls").verdict.retry_after_ms == 500
    asking.later(2_000)
    hour_ago = MOMENT.now_ms - 3_600_000
    asking.ask(Request(Kind.REPORT, "acme", "", "api.calls", 3, occurred_at_ms=hour_ago))
    assert asking.check("api.calls", 4).verdict.allowed, "what it took came back since"


def test_a_raised_rate_holds_at_once_and_forgets_nothing() -> None:
    asking = driver(SECOND)
    asking.consume("api.calls", 4)
    faster = Entitlement("api.calls", rates=(replace(SECOND, limit=10, burst=10),))
    asking.gate.cache.apply_catalog(rated(3, faster))
    assert asking.check("api.calls", 6).verdict.allowed
    assert not asking.check("api.calls", 7).verdict.allowed
    minutely = Entitlement("api.calls", rates=(Rate("per_second", 10, RatePeriod.MINUTE, 10),))
    asking.gate.cache.apply_catalog(rated(4, minutely))
    assert asking.consume("api.calls", 6).verdict.allowed
    assert asking.check("api.calls").verdict.retry_after_ms == 6_000


def test_the_plan_with_a_larger_rate_is_offered_and_one_with_the_same_is_not() -> None:
    asking = driver(SECOND)
    base = rated(3, Entitlement("api.calls", rates=(SECOND,)))
    same = PlanVersion("same", 1, "Same", base.plans["free"][1].entitlements)
    free = replace(base.plans["free"][1], upgrades_to=("same", "pro"))
    asking.gate.cache.apply_catalog(
        replace(base, plans={**base.plans, "free": {1: free}, "same": {1: same}})
    )
    asking.consume("api.calls", 4)
    assert [hint.plan for hint in asking.consume("api.calls").hints] == ["pro"]


def test_an_outage_policy_that_allows_does_not_lift_a_rate() -> None:
    asking = driver(SECOND, outage=OutagePolicy(OutageKind.ALLOW))
    asking.later(OUTAGE_AFTER_MS)
    assert asking.consume("api.calls", 4).verdict.allowed
    assert asking.consume("api.calls").verdict.reason is Reason.RATE_LIMITED


def test_the_view_shows_rates_and_forgetting_fills_them() -> None:
    asking = driver(SECOND)
    asking.consume("api.calls", 3)

    def remaining() -> int:
        view = view_customer(asking.gate, "acme", "", asking.moment)
        assert isinstance(view, CustomerView)
        feature = next(each for each in view.features if each.feature.id == "api.calls")
        return feature.rates[0].remaining

    assert remaining() == 1
    asking.gate.rates.forget("acme")
    assert remaining() == 4


def observing(*rates: Rate, calls: int = 100) -> Driver:
    return driver(*rates, calls=calls, enforcement=Enforcement.OBSERVE)


def test_an_observed_limit_allows_counts_and_says_so() -> None:
    asking = observing(calls=5)
    assert asking.consume("api.calls", 5).verdict.observed is None
    past = asking.consume("api.calls", 3)
    assert past.is_recorded
    assert (past.verdict.allowed, past.verdict.reason) == (True, None)
    assert (past.verdict.observed, past.verdict.overage) == (Reason.LIMIT_REACHED, 3)
    assert past.hints == ()
    state = asking.check("api.calls", 0).verdict.state
    assert state is not None
    assert state.used == 8
    assert asking.gate.observed_refusals == {("api.calls", Reason.LIMIT_REACHED): 1}


def test_observing_a_rate_refuses_in_thought_what_enforcing_it_would() -> None:
    enforced, observed = driver(SECOND), observing(SECOND)
    for step in range(40):
        for asking in (enforced, observed):
            asking.later(100 * (step % 4))
        refused = not enforced.consume("api.calls", 1 + step % 3).verdict.allowed
        verdict = observed.consume("api.calls", 1 + step % 3).verdict
        assert verdict.allowed
        assert (verdict.observed is Reason.RATE_LIMITED) == refused


def test_membership_and_values_are_observed_and_customers_are_not() -> None:
    asking = observing()
    assert asking.check("sso").verdict.observed is Reason.FEATURE_NOT_IN_PLAN
    assert asking.check("file_mb", 26).verdict.observed is Reason.VALUE_NOT_ALLOWED
    assert asking.check("support", value="phone").verdict.allowed
    assert asking.check("nonsense").verdict.reason is Reason.FEATURE_UNKNOWN
    assert asking.gate.cache.apply_absent("acme", 9)
    assert asking.check("sso").verdict.reason is Reason.CUSTOMER_UNKNOWN
