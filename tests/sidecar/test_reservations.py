"""Holds: reserved, extended, settled, released and expired, over leases and totals alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from sidecar.core.reservations import HELD_MS_MAX, RESTATED_MS, SETTLEABLE_MS
from sidecar.core.viewing import CustomerView, view_customer
from sidecar.replaying import replay_journal
from sidecar.transport.seam import Answer, Call, Method, Pending, Status
from sidecar.wire.record import decode_record
from sidecar.wire.view import view_to_proto
from tests.sidecar.gate_world import hard
from tests.sidecar.lease_world import LeaseWorld, leased_catalog, leased_gate, response
from weighbridge.rules.catalog import Entitlement
from weighbridge.rules.reservation import ExcessKind, ExcessPolicy
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window, WindowKind
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb

LEASED, CACHED = "denying", "tokens"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    found = LeaseWorld(tmp_path)
    yield found
    found.close()


def reserve(
    world: LeaseWorld, amount: int, name: str = "r1", feature: str = LEASED, ttl_ms: int = 60_000
) -> Answer:
    request = sidecar_pb.ReserveRequest(
        customer="acme", feature=feature, amount=amount, reservation=name, ttl_ms=ttl_ms
    )
    return ask(world, Method.RESERVE, request.SerializeToString())


def reserved(answer: Answer) -> sidecar_pb.ReserveResponse:
    if isinstance(answer, Pending):
        assert answer.answer is not None
        answer = answer.answer
    assert isinstance(answer, bytes), answer
    return sidecar_pb.ReserveResponse.FromString(answer)


def settle(world: LeaseWorld, amount: int, name: str = "r1") -> sidecar_pb.SettleResponse:
    request = sidecar_pb.SettleRequest(customer="acme", reservation=name, amount=amount)
    answer = ask(world, Method.SETTLE, request.SerializeToString())
    assert isinstance(answer, bytes), answer
    return sidecar_pb.SettleResponse.FromString(answer)


def release(world: LeaseWorld, name: str = "r1") -> Answer:
    request = sidecar_pb.ReleaseRequest(customer="acme", reservation=name)
    return ask(world, Method.RELEASE, request.SerializeToString())


def extend(world: LeaseWorld, amount: int, ttl_ms: int | None = None) -> Answer:
    request = sidecar_pb.ExtendRequest(
        customer="acme", reservation="r1", amount=amount, ttl_ms=ttl_ms
    )
    return ask(world, Method.EXTEND, request.SerializeToString())


def ask(world: LeaseWorld, method: Method, payload: bytes) -> Answer:
    return world.seam.answer([Call(method, payload)])[0]


def records(world: LeaseWorld) -> list[pb.UsageRecord]:
    stored = world.journal.read_unsettled((0, 0), 1_000, 1 << 20)
    return [decode_record(each.payload).record for each in stored]


def hold_six_of_ten(world: LeaseWorld) -> None:
    waiting = reserve(world, 6)
    world.grant(world.request(), 10)
    assert reserved(waiting).decision.allowed


def test_a_hold_draws_its_worst_case_at_once(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    assert world.draws() == {1: 6}
    assert response(world.consume(4)).decision.allowed
    refused = world.check(1).decision
    assert (refused.allowed, refused.used) == (False, 10)
    (opened,) = records(world)[0].holds_opened
    assert (opened.amount, [(h.lease, h.units) for h in opened.held]) == (6, [(1, 6)])
    assert not records(world)[0].entries


def test_what_was_not_needed_goes_back_into_the_lease(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    settled = settle(world, 2)
    assert (settled.receipt.amount, settled.excess_amount, settled.had_expired) == (2, 0, False)
    assert world.draws() == {1: 2}
    record = records(world)[1]
    assert [(e.amount, e.kind) for e in record.entries] == [(2, pb.USAGE_KIND_SETTLE)]
    assert [c.end for c in record.holds_closed] == [pb.HOLD_END_SETTLED]
    assert response(world.consume(8)).decision.allowed
    assert isinstance(world.consume(1), bytes)


def test_more_than_was_held_is_charged_in_full(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    settled = settle(world, 13)
    assert (settled.receipt.amount, settled.excess_amount) == (13, 7)
    assert settled.receipt.overage_amount == 3
    assert world.draws() == {1: 10}


def test_settling_again_gets_the_first_answer_and_another_amount_is_aborted(
    world: LeaseWorld,
) -> None:
    hold_six_of_ten(world)
    first = settle(world, 2)
    again = settle(world, 2)
    assert again.replayed
    assert again.receipt == first.receipt
    request = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=3)
    other = ask(world, Method.SETTLE, request.SerializeToString())
    assert isinstance(other, Status)
    assert other.code is grpc.StatusCode.ABORTED
    assert len(records(world)) == 2


def test_a_release_charges_nothing(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    answer = release(world)
    assert isinstance(answer, bytes)
    assert sidecar_pb.ReleaseResponse.FromString(answer).released_amount == 6
    assert world.draws()[1] == 0
    assert response(world.consume(10)).decision.allowed
    unknown = release(world, "r2")
    assert isinstance(unknown, Status)
    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert "r2" in unknown.detail


def test_a_hold_grows_and_lasts_longer(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    answer = extend(world, 9, 120_000)
    assert isinstance(answer, bytes)
    extended = sidecar_pb.ExtendResponse.FromString(answer)
    assert (extended.decision.allowed, extended.reservation.amount) == (True, 9)
    assert extended.reservation.expires_at_unix_ms == world.moment.now_ms + 120_000
    too_much = extend(world, 11)
    assert isinstance(too_much, bytes)
    assert not sidecar_pb.ExtendResponse.FromString(too_much).decision.allowed
    fewer = extend(world, 3)
    assert isinstance(fewer, Status)
    assert fewer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert world.draws() == {1: 9}


def test_an_expired_hold_costs_nothing_and_can_be_settled_still(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    world.later(60_000 - 1)
    world.seam.keep_holds()
    assert world.draws() == {1: 6}
    world.later(1)
    world.seam.keep_holds()
    assert world.draws()[1] == 0
    assert records(world)[1].holds_closed[0].end == pb.HOLD_END_EXPIRED
    settled = settle(world, 4)
    assert (settled.had_expired, settled.receipt.amount, settled.excess_amount) == (True, 4, 4)
    assert world.draws()[1] == 0


def test_long_after_its_deadline_a_hold_is_forgotten(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    world.later(60_000)
    world.seam.keep_holds()
    world.later(SETTLEABLE_MS)
    world.seam.keep_holds()
    request = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=3)
    answer = ask(world, Method.SETTLE, request.SerializeToString())
    assert isinstance(answer, Status)
    assert answer.code is grpc.StatusCode.NOT_FOUND


def test_a_hold_on_a_cached_feature_counts_as_used(world: LeaseWorld) -> None:
    assert reserved(reserve(world, 60, feature=CACHED)).decision.allowed
    decision = world.check(60, CACHED).decision
    assert (decision.used, decision.overage_amount) == (60, 20)
    settle(world, 10)
    assert world.check(60, CACHED).decision.used == 10


def test_a_refused_reserve_binds_nothing(world: LeaseWorld) -> None:
    waiting = reserve(world, 6)
    world.refuse(world.request(), available=2)
    answer = reserved(waiting)
    assert answer.decision.reason == types_pb.REASON_LIMIT_REACHED
    assert not answer.HasField("reservation")
    again = reserve(world, 2)
    world.grant(world.request(), 2)
    assert reserved(again).decision.allowed


def test_an_id_that_is_open_is_not_given_twice(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    assert reserved(reserve(world, 6)).replayed
    other = reserve(world, 1)
    assert isinstance(other, Status)
    assert other.code is grpc.StatusCode.ABORTED


def test_a_hold_whose_record_is_not_written_holds_nothing(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    (pool,) = world.gate.leases.held()
    world.journal.close()
    assert isinstance(reserve(world, 2, "r2"), Status)
    request = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=3)
    assert isinstance(ask(world, Method.SETTLE, request.SerializeToString()), Status)
    assert (pool.remaining, pool.drawn) == (4, 6)
    assert world.gate.reservations.held_units == 6


def test_holds_survive_a_restart(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    gate = leased_gate()
    replay_journal(world.journal, gate, 0, 0)
    (hold,) = gate.reservations
    assert (hold.reservation, hold.amount, hold.held[0].units) == ("r1", 6, 6)
    again = reserve(world, 6)
    assert reserved(again).replayed
    settle(world, 1)
    gate = leased_gate()
    replay_journal(world.journal, gate, 0, 0)
    assert len(gate.reservations) == 0


def test_an_open_hold_is_written_again_now_and_then(world: LeaseWorld) -> None:
    waiting = reserve(world, 6, ttl_ms=3_600_000)
    world.grant(world.request(), 10)
    assert reserved(waiting).decision.allowed
    world.later(RESTATED_MS)
    world.seam.keep_holds()
    world.seam.keep_holds()
    assert [len(r.holds_opened) for r in records(world)] == [1, 1]
    assert world.draws() == {1: 6}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reservation": ""}, "reservation"),
        ({"ttl_ms": 1}, "ttl_ms"),
        ({"amount": -1}, "amount"),
        ({"customer": "a b"}, "customer"),
    ],
)
def test_a_broken_reserve_names_the_field(
    world: LeaseWorld, fields: dict[str, object], field: str
) -> None:
    sound: dict[str, object] = {"customer": "acme", "feature": LEASED, "reservation": "r1"}
    request = sidecar_pb.ReserveRequest(**{**sound, **fields})  # type: ignore[arg-type]
    answer = ask(world, Method.RESERVE, request.SerializeToString())
    assert isinstance(answer, Status)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.detail.startswith(field)


def test_an_expired_hold_that_was_ended_stays_ended_after_a_restart(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    world.later(60_000)
    world.seam.keep_holds()
    assert isinstance(release(world), bytes)
    again = release(world)
    assert isinstance(again, bytes)
    assert sidecar_pb.ReleaseResponse.FromString(again).replayed
    gate = leased_gate()
    replay_journal(world.journal, gate, 0, 0)
    assert len(gate.reservations) == 0


def test_a_settlement_that_cannot_be_counted_leaves_the_hold(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    request = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=COUNTER_MAX)
    world.consume(1)
    answer = ask(world, Method.SETTLE, request.SerializeToString())
    assert isinstance(answer, Status)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert world.gate.reservations.held_units == 6
    assert not any(record.holds_closed for record in records(world))
    assert settle(world, 6).receipt.amount == 6


def test_a_hold_does_not_last_for_ever(world: LeaseWorld) -> None:
    hold_six_of_ten(world)
    (hold,) = world.gate.reservations
    world.gate.reservations.put(hold._replace(opened_at_ms=hold.opened_at_ms - HELD_MS_MAX))
    answer = extend(world, 6, 60_000)
    assert isinstance(answer, Status)
    assert answer.detail.startswith("ttl_ms: no hold lasts longer than 30 days")


def test_what_is_held_shows(world: LeaseWorld) -> None:
    assert reserved(reserve(world, 60, feature=CACHED)).decision.reserved == 60
    decision = world.check(1, CACHED).decision
    assert (decision.used, decision.reserved, decision.remaining) == (60, 60, 40)
    changed: list[str] = []
    world.gate.on_changed = changed.append
    view = view_customer(world.gate, "acme", "", world.moment)
    assert isinstance(view, CustomerView)
    (tokens,) = [each for each in view_to_proto(view).features if each.feature == CACHED]
    assert [(u.used, u.reserved, u.remaining) for u in tokens.limits] == [(60, 60, 40)]
    settle(world, 10)
    assert changed == ["acme"]
    assert not world.check(1, CACHED).decision.reserved


def excess(world: LeaseWorld, policy: ExcessPolicy, feature: str = LEASED) -> None:
    base = leased_catalog(10, 9)
    changed = replace(base.features[feature], excess=policy)
    world.gate.cache.apply_catalog(replace(base, features={**base.features, feature: changed}))


@pytest.mark.parametrize(
    ("policy", "most"),
    [(ExcessPolicy(ExcessKind.REJECT), 6), (ExcessPolicy(ExcessKind.OVERDRAFT, 2), 8)],
)
def test_a_settlement_beyond_the_excess_policy_settles_nothing(
    world: LeaseWorld, policy: ExcessPolicy, most: int
) -> None:
    hold_six_of_ten(world)
    excess(world, policy)
    request = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=most + 1)
    answer = ask(world, Method.SETTLE, request.SerializeToString())
    assert isinstance(answer, Status)
    assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
    assert f"more than the {most} that reservation 'r1' can be settled with" in answer.detail
    assert world.gate.reservations.held_units == 6
    assert len(records(world)) == 1
    settled = settle(world, most)
    assert (settled.receipt.amount, settled.excess_amount) == (most, most - 6)


def test_what_is_available_is_taken_and_the_rest_is_told(world: LeaseWorld) -> None:
    excess(world, ExcessPolicy(ExcessKind.TAKE_AVAILABLE))
    hold_six_of_ten(world)
    settled = settle(world, 13)
    assert (settled.receipt.amount, settled.excess_amount) == (10, 4)
    assert (settled.uncharged_amount, settled.receipt.overage_amount) == (3, 0)
    assert world.draws() == {1: 10}
    (pool,) = world.gate.leases.held()
    assert (pool.remaining, pool.drawn) == (0, 10)


def test_no_more_is_taken_than_leases_give_at_once(world: LeaseWorld) -> None:
    excess(world, ExcessPolicy(ExcessKind.TAKE_AVAILABLE))
    waiting = reserve(world, 6)
    world.grant(world.request(), 8)
    assert reserved(waiting).decision.allowed
    settled = settle(world, 9)
    assert (settled.receipt.amount, settled.uncharged_amount) == (8, 1)
    assert world.draws() == {1: 8}
    assert not len(world.waiting)


def test_one_hold_takes_no_more_than_its_share(world: LeaseWorld) -> None:
    world.gate._metered.hold_share_percent_max = 50
    refused = reserved(reserve(world, 6)).decision
    assert (refused.reason, refused.allowed_amount) == (types_pb.REASON_LIMIT_REACHED, 5)
    waiting = reserve(world, 4)
    world.grant(world.request(), 10)
    assert reserved(waiting).decision.allowed
    more = extend(world, 6)
    assert isinstance(more, bytes)
    decision = sidecar_pb.ExtendResponse.FromString(more).decision
    assert (decision.allowed, decision.allowed_amount) == (False, 1)
    assert response(world.consume(6)).decision.allowed


@pytest.mark.parametrize("kind", [WindowKind.ROLLING, WindowKind.SESSION])
def test_a_hold_counts_in_a_moving_window(world: LeaseWorld, kind: WindowKind) -> None:
    base = leased_catalog(10, 9)
    plan = base.plans["free"][1]
    moving = Entitlement(LEASED, limits=(hard(10, Window(kind, length_ms=3_600_000), "moving"),))
    entitlements = {**plan.entitlements, LEASED: moving}
    plans = {**base.plans, "free": {1: replace(plan, entitlements=entitlements)}}
    world.gate.cache.apply_catalog(replace(base, plans=plans))
    first = reserve(world, 6, ttl_ms=7_200_000)
    for request in world.requests():
        world.grant(request, 10)
    assert reserved(first).decision.allowed
    assert not reserved(reserve(world, 5, "r2")).decision.allowed
    assert world.check(1).decision.reserved == 6
    world.later(3_700_000)
    assert world.check(1).decision.reserved == 0
