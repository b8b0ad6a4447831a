"""Hard limits are spent from leases only; what lacks is asked for, and waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from sidecar.core.leases import IDLE_MS, MARGIN_MS
from sidecar.transport.seam import Call, Method, Pending, Status
from tests.sidecar.lease_world import TTL_MS, LeaseWorld, leased_catalog, response
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    found = LeaseWorld(tmp_path)
    yield found
    found.close()


def test_nothing_is_admitted_that_is_not_leased(world: LeaseWorld) -> None:
    waiting = world.consume()
    assert isinstance(waiting, Pending)
    assert waiting.answer is None
    request = world.request()
    (want,) = request.wants
    assert (want.pool.customer, want.pool.feature, want.pool.limit_id) == (
        "acme",
        "denying",
        "month",
    )
    assert (want.units_min, want.limit) == (1, 10)
    world.grant(request, 4)
    decision = response(waiting).decision
    assert decision.allowed
    assert decision.decided_by == types_pb.DECIDED_BY_LEASE
    assert decision.HasField("max_overshoot")
    assert decision.max_overshoot == 0
    assert world.draws() == {1: 1}


def test_a_lease_is_spent_to_its_last_unit_and_no_further(world: LeaseWorld) -> None:
    first = world.consume(2)
    world.grant(world.request(), 4)
    assert response(first).decision.allowed
    assert response(world.consume(2)).decision.allowed
    (refill,) = world.requests()
    assert [want.units_min for want in refill.wants] == [0]
    lacking = world.consume(1)
    assert isinstance(lacking, Pending)
    assert world.draws() == {1: 4}


def test_a_refusal_is_told_without_asking_again_until_it_is_lifted(world: LeaseWorld) -> None:
    waiting = world.consume(3)
    world.refuse(world.request(), available=2)
    decision = response(waiting).decision
    assert (decision.allowed, decision.reason) == (False, types_pb.REASON_LIMIT_REACHED)
    assert decision.allowed_amount == 2
    assert decision.remaining == 2
    assert decision.retry_after_ms > 0
    assert not response(world.consume(3)).decision.allowed
    assert not world.check(3).decision.allowed
    assert world.requests() == []
    # What is available can still be asked for.
    assert isinstance(world.consume(2), Pending)
    world.requests()
    pool = world.gate.leases.pools()
    lift = pb.LeaseLift(pools=[_pool_of(next(iter(pool)).key)])
    world.receive(lease_lift=lift)
    assert isinstance(world.consume(3), Pending)


def test_a_refusal_lapses_with_time_and_with_the_stream(world: LeaseWorld) -> None:
    world.consume(3)
    world.refuse(world.request(), unreachable=5)
    refused = response(world.consume(3)).decision
    assert refused.retry_after_ms == 30_000
    world.later(30_000)
    assert isinstance(world.consume(3), Pending)
    world.refuse(world.request())
    assert not response(world.consume(3)).decision.allowed
    world.begin_stream()
    assert isinstance(world.consume(3), Pending)


def test_several_limits_are_leased_together_or_not_at_all(world: LeaseWorld) -> None:
    waiting = world.consume(2, "api.calls")
    request = world.request()
    assert [want.pool.limit_id for want in request.wants] == ["month", "day"]
    world.refuse(request)
    assert not response(waiting).decision.allowed
    assert world.draws() == {}
    world.begin_stream()
    waiting = world.consume(2, "api.calls")
    world.grant(world.request(), 5, 5, limit=5)
    assert response(waiting).decision.allowed
    assert world.draws() == {1: 2, 2: 2}


def test_a_record_that_cannot_be_written_draws_nothing(world: LeaseWorld) -> None:
    world.consume()
    world.grant(world.request(), 10)
    (pool,) = world.gate.leases.held()
    before = pool.remaining
    world.journal.close()
    answer = world.consume(3)
    assert isinstance(answer, Status)
    assert pool.remaining == before


def test_a_term_that_ran_out_is_not_spent(world: LeaseWorld) -> None:
    world.consume()
    world.grant(world.request(), 10)
    assert response(world.consume()).decision.allowed
    world.later(TTL_MS - MARGIN_MS, is_heard=False)
    # By now the control plane is silent as well: what no lease covers is denied.
    decision = response(world.consume()).decision
    assert decision.reason == types_pb.REASON_OUTAGE_POLICY


def test_a_confirmed_heartbeat_extends_the_term_from_when_it_was_sent(world: LeaseWorld) -> None:
    world.consume()
    world.grant(world.request(), 10)
    world.later(30_000)
    number = world.talk.next_beat(world.moment.boot_ms)
    world.later(5_000)
    world.talk.confirmed(number, world.moment.boot_ms)
    assert world.gate.leases.term_ends_ms == world.moment.boot_ms - 5_000 + TTL_MS - MARGIN_MS
    world.talk.confirmed(99, world.moment.boot_ms)
    world.talk.confirmed(number, world.moment.boot_ms)
    assert world.gate.leases.term_ends_ms == world.moment.boot_ms - 5_000 + TTL_MS - MARGIN_MS


def test_what_is_leased_is_spent_in_an_outage(world: LeaseWorld) -> None:
    world.consume()
    world.grant(world.request(), 3)
    world.later(20_000, is_heard=False)
    decision = response(world.consume(2)).decision
    assert decision.allowed
    assert decision.decided_by == types_pb.DECIDED_BY_LEASE
    assert response(world.consume(1)).decision.reason == types_pb.REASON_OUTAGE_POLICY


def test_a_lowered_limit_makes_older_leases_worthless(world: LeaseWorld) -> None:
    world.consume(1, "api.calls")
    world.grant(world.request(), 5, 5, limit=10)
    # The day's limit in the snapshot is 5: that lease, granted under 10, is worth nothing.
    assert isinstance(world.consume(1, "api.calls"), Pending)
    world.requests()
    world.gate.cache.apply_catalog(leased_catalog(3, 3))
    assert isinstance(world.consume(1, "api.calls"), Pending)


def test_units_under_an_old_limit_are_given_back_before_more_is_asked(world: LeaseWorld) -> None:
    first = world.consume(1, "api.calls")
    world.grant(world.request(), 8, 5, limit=5)
    assert response(first).decision.allowed
    world.gate.cache.apply_catalog(leased_catalog(3, 3))
    assert isinstance(world.consume(1, "api.calls"), Pending)
    (request,) = world.requests()
    assert [(held.lease, held.returned) for held in request.returned] == [(1, 7), (2, 4)]
    assert [(w.pool.limit_id, w.limit) for w in request.wants] == [("month", 3), ("day", 5)]


def test_recalled_units_are_given_back_once(world: LeaseWorld) -> None:
    world.consume(2)
    world.grant(world.request(), 10)
    world.receive(lease_recall=pb.LeaseRecall(leases=[1, 77]))
    request = world.request()
    assert [(held.lease, held.returned) for held in request.returned] == [(1, 8)]
    assert request.number == 0
    assert isinstance(world.consume(1), Pending)
    # With nothing left it is told all the same: somebody waits to hear it.
    world.requests()
    world.receive(lease_recall=pb.LeaseRecall(leases=[1]))
    assert [held.returned for held in world.request().returned] == [8]


def test_an_idle_lease_ends_and_the_next_one_is_another(world: LeaseWorld) -> None:
    world.consume(2)
    world.grant(world.request(), 10)
    world.requests()
    world.later(IDLE_MS)
    world.gate.leases.tidy(*world.moment)
    (held,) = world.request().returned
    assert (held.lease, held.returned, held.granted, held.ended) == (1, 8, 10, True)
    assert len(world.gate.leases) == 0
    assert isinstance(world.consume(1), Pending)


def test_the_hello_lists_what_is_held_and_where_epochs_end(world: LeaseWorld) -> None:
    world.consume(2)
    world.grant(world.request(), 10)
    hello = world.begin_stream()
    assert [(h.lease, h.granted, h.returned) for h in hello.leases] == [(1, 10, 0)]
    assert [(m.epoch, m.number) for m in hello.written] == [(world.journal.epoch, 1)]
    assert not hello.may_have_lost_records
    assert response(world.consume(8)).decision.allowed


def test_an_answer_of_an_earlier_stream_grants_nothing(world: LeaseWorld) -> None:
    waiting = world.consume(2)
    request = world.request()
    world.begin_stream()
    world.grant(request, 10)
    assert isinstance(waiting, Pending)
    assert waiting.answer is None
    world.granted.clear()
    world.grant(world.request(), 10)
    assert response(waiting).decision.allowed


def test_a_call_that_was_given_up_is_never_charged(world: LeaseWorld) -> None:
    waiting = world.consume(2)
    assert isinstance(waiting, Pending)
    world.refuse(world.request(), available=1)
    waiting = world.consume(1)
    assert isinstance(waiting, Pending)
    request = world.request()
    world.waiting.cancel(waiting)
    world.grant(request, 5)
    assert world.draws() == {}
    assert waiting.answer is None


def test_a_call_that_waits_too_long_is_told_so(world: LeaseWorld) -> None:
    waiting = world.consume()
    assert isinstance(waiting, Pending)
    world.later(1_000)
    world.waiting.tick(world.moment)
    assert isinstance(waiting.answer, Status)
    assert waiting.answer.code is grpc.StatusCode.UNAVAILABLE
    assert "denying" in waiting.answer.detail


def test_waiters_are_served_as_far_as_units_go(world: LeaseWorld) -> None:
    calls = [
        Call(
            Method.CONSUME,
            sidecar_pb.ConsumeRequest(
                customer="acme", feature="denying", amount=2
            ).SerializeToString(),
        )
        for _ in range(4)
    ]
    answers = world.seam.answer(calls)
    (request,) = world.requests()
    (want,) = request.wants
    assert want.units_min == 2
    assert want.units >= 8
    world.grant(request, 7)
    # Three have what they need; the fourth lacks one unit, and asks for that.
    assert [a.answer is not None for a in answers if isinstance(a, Pending)] == [True] * 3 + [False]
    (request,) = world.requests()
    assert [w.units_min for w in request.wants] == [1]
    world.refuse(request)
    late = response(answers[3]).decision
    assert (late.allowed, late.allowed_amount) == (False, 1)


def _pool_of(key: object) -> pb.LeasePool:
    customer, resource, feature, limit_id, start_ms = key  # type: ignore[misc]
    return pb.LeasePool(
        customer=customer,
        resource=resource,
        feature=feature,
        limit_id=limit_id,
        window_start_unix_ms=start_ms,
    )
