"""What answers on limits say: how much would pass, and how far a limit may be overshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.transport.seam import Answer, Call, Method, Pending
from tests.sidecar.gate_world import customer, hard
from tests.sidecar.lease_world import TTL_MS, LeaseWorld, leased_catalog, response
from weighbridge.rules.catalog import (
    Enforcement,
    Entitlement,
    Feature,
    Limit,
    LimitKind,
    OutageKind,
    OutagePolicy,
)
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.rate import Rate, RatePeriod
from weighbridge.rules.window import Window, WindowKind
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

FEATURE = "denying"
IN_OUTAGE_MS = 20_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    found = LeaseWorld(tmp_path)
    yield found
    found.close()


def give(world: LeaseWorld, entitlement: Entitlement | None = None, **changes: object) -> None:
    """Change the feature, and what the plan grants of it."""
    base = leased_catalog(10, 3)
    feature: Feature = replace(base.features[FEATURE], **changes)  # type: ignore[arg-type]
    plan = base.plans["free"][1]
    entitlements = dict(plan.entitlements)
    if entitlement is not None:
        entitlements[FEATURE] = entitlement
    plans = {**base.plans, "free": {1: replace(plan, entitlements=entitlements)}}
    features = {**base.features, FEATURE: feature}
    assert world.gate.cache.apply_catalog(replace(base, features=features, plans=plans))


def lease(world: LeaseWorld, units: int) -> None:
    """Have one unit used, and so many more here."""
    waiting = world.consume()
    world.grant(world.request(), units + 1)
    assert response(waiting).decision.allowed
    world.requests()


def reserve(world: LeaseWorld, amount: int) -> pb.Decision:
    request = sidecar_pb.ReserveRequest(
        customer="acme", feature=FEATURE, amount=amount, reservation="r"
    )
    (answer,) = world.seam.answer([Call(Method.RESERVE, request.SerializeToString())])
    assert isinstance(answer, bytes)
    return sidecar_pb.ReserveResponse.FromString(answer).decision


NEVER = [
    {},
    {"outage": OutagePolicy(OutageKind.LEASED)},
    {"consistency": Consistency.AUTHORITATIVE},
]
PERHAPS = [
    {"consistency": Consistency.CACHED},
    {"enforcement": Enforcement.OBSERVE},
    {"lost_lease": LostLease.RELEASE},
    {"outage": OutagePolicy(OutageKind.LAST_KNOWN)},
    {"outage": OutagePolicy(OutageKind.ALLOW)},
    {"outage": OutagePolicy(OutageKind.SAFE_CAPACITY, 3)},
]


@pytest.mark.parametrize("changes", NEVER)
def test_a_limit_that_is_never_overshot_says_so(
    world: LeaseWorld, changes: dict[str, object]
) -> None:
    give(world, **changes)
    for amount in (1, 11):
        decision = world.check(amount).decision
        assert (decision.HasField("max_overshoot"), decision.max_overshoot) == (True, 0)
    waiting = world.consume(2)
    world.grant(world.request(), 2)
    assert response(waiting).decision.HasField("max_overshoot")


@pytest.mark.parametrize("changes", PERHAPS)
def test_what_may_overshoot_somewhere_claims_no_bound(
    world: LeaseWorld, changes: dict[str, object]
) -> None:
    give(world, **changes)
    for amount in (1, 11):
        assert not world.check(amount).decision.HasField("max_overshoot")


@pytest.mark.parametrize("limits", [(), (replace(hard(1), kind=LimitKind.SOFT),)])
def test_without_a_hard_limit_nothing_is_overshot_or_not(
    world: LeaseWorld, limits: tuple[Limit, ...]
) -> None:
    give(world, Entitlement(FEATURE, limits=limits))
    assert not world.check().decision.HasField("max_overshoot")


def test_a_check_says_what_part_of_a_limit_would_pass(world: LeaseWorld) -> None:
    lease(world, 3)
    decision = world.check(12).decision
    assert (decision.allowed, decision.allowed_amount) == (False, 9)
    give(world, consistency=Consistency.CACHED)
    decision = world.check(12).decision
    assert (decision.allowed, decision.allowed_amount) == (False, 9)


def test_a_refusal_counts_what_is_here_and_what_is_left_elsewhere(world: LeaseWorld) -> None:
    lease(world, 3)
    waiting = world.consume(7)
    world.refuse(world.request(), available=2)
    for decision in (response(waiting).decision, world.check(7).decision):
        assert (decision.allowed, decision.allowed_amount) == (False, 5)
        assert decision.decided_by == pb.DECIDED_BY_LEASE
    assert response(world.consume(3)).decision.allowed


def test_of_several_refusals_the_tightest_says_what_would_pass(world: LeaseWorld) -> None:
    waiting = world.consume(4, "api.calls")
    request = world.request()
    refusals = [
        sidecar_refusal(want.pool, available)
        for want, available in zip(request.wants, (3, 1), strict=True)
    ]
    world.receive(lease_answer=sync_pb.LeaseAnswer(number=request.number, refusals=refusals))
    decision = response(waiting).decision
    assert (decision.limit_id, decision.allowed_amount) == ("day", 1)


def sidecar_refusal(pool: sync_pb.LeasePool, available: int) -> sync_pb.LeaseRefusal:
    return sync_pb.LeaseRefusal(pool=pool, available=available, limit=10, lapses_in_ms=30_000)


@pytest.mark.parametrize("kind", [OutageKind.DENY, OutageKind.LEASED])
def test_in_an_outage_what_is_leased_would_pass(world: LeaseWorld, kind: OutageKind) -> None:
    give(world, outage=OutagePolicy(kind))
    lease(world, 3)
    world.later(IN_OUTAGE_MS, is_heard=False)
    for decision in (world.check(5).decision, response(world.consume(5)).decision):
        assert (decision.allowed, decision.reason) == (False, pb.REASON_OUTAGE_POLICY)
        assert decision.allowed_amount == 3
    assert response(world.consume(3)).decision.allowed
    assert not response(world.consume(1)).decision.HasField("allowed_amount")


def test_in_an_outage_capacity_or_leases_would_pass(world: LeaseWorld) -> None:
    give(world, outage=OutagePolicy(OutageKind.SAFE_CAPACITY, 5))
    lease(world, 3)
    world.later(IN_OUTAGE_MS, is_heard=False)
    decision = response(world.consume(7)).decision
    assert (decision.reason, decision.allowed_amount) == (pb.REASON_OUTAGE_POLICY, 5)


def test_a_rate_says_what_part_would_pass_of_a_leased_feature_too(world: LeaseWorld) -> None:
    rate = Rate("second", 4, RatePeriod.SECOND, 4)
    give(world, Entitlement(FEATURE, limits=(hard(10),), rates=(rate,)))
    decision = response(world.consume(6)).decision
    assert (decision.reason, decision.allowed_amount) == (pb.REASON_RATE_LIMITED, 4)
    decision = world.check(12).decision
    assert (decision.reason, decision.allowed_amount) == (pb.REASON_LIMIT_REACHED, 4)


def test_a_hold_past_limit_and_share_says_the_lesser(world: LeaseWorld) -> None:
    world.gate._metered.hold_share_percent_max = 30
    assert reserve(world, 11).allowed_amount == 3
    assert reserve(world, 5).allowed_amount == 3


def test_a_lease_whose_term_ran_out_is_given_back_before_the_next_hello(world: LeaseWorld) -> None:
    lease(world, 3)
    world.later(TTL_MS)
    hello = world.begin_stream()

    assert [(each.lease, each.returned, each.granted) for each in hello.leases] == [(1, 3, 4)]
    assert isinstance(world.consume(), Pending)


def test_a_lease_within_its_term_is_kept_over_streams(world: LeaseWorld) -> None:
    lease(world, 3)
    hello = world.begin_stream()

    assert [(each.lease, each.returned, each.granted) for each in hello.leases] == [(1, 0, 4)]
    assert response(world.consume(3)).decision.allowed


def test_leaves_share_the_lease_of_one_above(world: LeaseWorld) -> None:
    for name in ("ann", "bob"):
        leaf = replace(customer(name), parent="acme", subscriptions=())
        assert world.gate.cache.apply_customer(leaf)

    def use(name: str) -> Answer:
        request = sidecar_pb.ConsumeRequest(customer=name, feature=FEATURE, amount=2)
        return world.seam.answer([Call(Method.CONSUME, request.SerializeToString())])[0]

    waiting = use("ann")
    request = world.request()
    assert [want.pool.customer for want in request.wants] == ["acme"]
    world.grant(request, 6)
    assert response(waiting).decision.limited_by == "acme"
    decision = response(use("bob")).decision
    assert (decision.allowed, decision.decided_by) == (True, pb.DECIDED_BY_LEASE)
    assert world.draws() == {1: 4}


def test_a_session_of_moving_windows_claims_no_bound(world: LeaseWorld) -> None:
    moving = Limit("hour", LimitKind.HARD, 5, Window(WindowKind.SESSION, length_ms=3_600_000))
    give(world, Entitlement(FEATURE, limits=(hard(10), moving)))
    assert not world.check().decision.HasField("max_overshoot")
