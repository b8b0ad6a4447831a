"""Authoritative features: each call asks upstream for exactly its units, and none are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.transport.seam import Call, Method, Pending
from tests.sidecar.lease_world import LeaseWorld, leased_catalog, response
from weighbridge.rules.lease import Consistency
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

IN_OUTAGE_MS = 20_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    found = LeaseWorld(tmp_path)
    base = leased_catalog(10, 3)
    features = {
        id_: replace(feature, consistency=Consistency.AUTHORITATIVE)
        for id_, feature in base.features.items()
    }
    found.gate.cache.apply_catalog(replace(base, features=features))
    yield found
    found.close()


def test_each_call_asks_for_exactly_what_it_takes(world: LeaseWorld) -> None:
    for _ in range(3):
        waiting = world.consume(2)
        request = world.request()
        (want,) = request.wants
        assert (want.units_min, want.units) == (2, 2)
        world.grant(request, 2)
        answer = response(waiting)
        decision = answer.decision
        assert (decision.allowed, answer.receipt.amount) == (True, 2)
        assert decision.decided_by == pb.DECIDED_BY_CONTROL_PLANE
        assert decision.HasField("max_overshoot")
        assert decision.max_overshoot == 0
        # Nothing is left to give back, and nothing is asked for ahead.
        assert world.requests() == []
    assert world.draws() == {1: 6}


def test_calls_that_come_together_share_a_round_trip(world: LeaseWorld) -> None:
    first = world.consume(2)
    request = world.request()
    others = [world.consume(3), world.consume(1), world.consume(4)]
    assert world.requests() == []
    world.grant(request, 2)
    assert response(first).decision.allowed
    together = world.request()
    (want,) = together.wants
    assert want.units_min == 1
    assert want.units >= 8
    # At the tail there is less than they ask for: whom it does not serve asks again.
    world.grant(together, 5)
    answered = [each for each in others if isinstance(each, Pending) and each.answer]
    assert [response(each).receipt.amount for each in answered] == [3, 1]
    again = world.request()
    assert [returned.returned for returned in again.returned] == [1]
    (want,) = again.wants
    assert (want.units_min, want.units) == (4, 4)
    world.refuse(again, available=1)
    decision = response(others[2]).decision
    assert (decision.allowed, decision.allowed_amount) == (False, 1)
    assert world.draws() == {1: 6}


def test_a_refusal_is_of_one_call_and_says_who_decided(world: LeaseWorld) -> None:
    for _ in range(2):
        waiting = world.consume(3)
        world.refuse(world.request(), available=2)
        decision = response(waiting).decision
        assert (decision.allowed, decision.reason) == (False, pb.REASON_LIMIT_REACHED)
        assert decision.decided_by == pb.DECIDED_BY_CONTROL_PLANE
        assert (decision.allowed_amount, decision.max_overshoot) == (2, 0)


def test_what_the_last_totals_refuse_is_asked_all_the_same(world: LeaseWorld) -> None:
    waiting = world.consume(10)
    world.grant(world.request(), 10)
    assert response(waiting).decision.allowed
    assert not world.check().decision.allowed
    # Others gave back what they held, and it is not known here so far.
    waiting = world.consume(4)
    world.grant(world.request(), 4)
    decision = response(waiting).decision
    assert decision.allowed
    assert (decision.used, decision.remaining) == (10, 0)


def test_a_check_asks_nothing(world: LeaseWorld) -> None:
    decision = world.check(3).decision
    assert (decision.allowed, decision.decided_by) == (True, pb.DECIDED_BY_CACHE)
    assert decision.max_overshoot == 0
    assert not world.check(11).decision.allowed
    assert world.check(11).decision.allowed_amount == 10
    assert world.requests() == []


def test_a_call_that_was_given_up_leaves_nothing_here(world: LeaseWorld) -> None:
    waiting = world.consume(3)
    assert isinstance(waiting, Pending)
    request = world.request()
    world.waiting.cancel(waiting)
    world.grant(request, 3)
    (told,) = world.requests()
    assert [(each.lease, each.returned) for each in told.returned] == [(1, 3)]
    assert isinstance(world.consume(1), Pending)


def test_the_unused_part_of_a_hold_goes_back_to_the_pool(world: LeaseWorld) -> None:
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature="denying", amount=5, reservation="r"
    )
    (waiting,) = world.seam.answer([Call(Method.RESERVE, reserve.SerializeToString())])
    world.grant(world.request(), 5)
    assert isinstance(waiting, Pending)
    assert isinstance(waiting.answer, bytes)
    assert sidecar_pb.ReserveResponse.FromString(waiting.answer).decision.allowed
    settle = sidecar_pb.SettleRequest(customer="acme", reservation="r", amount=2)
    (answer,) = world.seam.answer([Call(Method.SETTLE, settle.SerializeToString())])
    assert isinstance(answer, bytes)
    # The record that ends the hold gives 3 back: none of them may be spent here.
    assert isinstance(world.consume(1), Pending)
    assert world.draws() == {1: 5}


def test_an_outage_denies(world: LeaseWorld) -> None:
    world.later(IN_OUTAGE_MS, is_heard=False)
    decision = response(world.consume()).decision
    assert (decision.allowed, decision.reason) == (False, pb.REASON_OUTAGE_POLICY)
    assert decision.decided_by == pb.DECIDED_BY_OUTAGE_POLICY
    assert not decision.HasField("allowed_amount")


def test_several_limits_are_asked_for_together(world: LeaseWorld) -> None:
    waiting = world.consume(2, "api.calls")
    request = world.request()
    assert [want.units for want in request.wants] == [2, 2]
    world.grant(request, 2, 2, limit=5)
    assert response(waiting).decision.allowed
    assert world.draws() == {1: 2, 2: 2}


def test_what_has_no_hard_limit_asks_nothing(world: LeaseWorld) -> None:
    for feature in ("tokens", "unlimited"):
        decision = response(world.consume(200, feature)).decision
        assert (decision.allowed, decision.decided_by) == (True, pb.DECIDED_BY_CACHE)
        assert not decision.HasField("max_overshoot")
    assert world.requests() == []
