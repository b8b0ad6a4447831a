"""What a Meter has told is charged at the deadline of its hold, where nobody settles it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.reservations import DAY_MS, RESTATED_MS, TTL_MS_MAX
from sidecar.core.usage import Position
from sidecar.journal import START
from sidecar.replaying import replay_journal
from sidecar.transport.seam import Call, Method, Pending, Status
from sidecar.wire.record import decode_record
from tests.sidecar.lease_world import LeaseWorld, leased_catalog
from weighbridge.rules.reservation import ExcessKind, ExcessPolicy
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb

FEATURE = "denying"
TTL_MS = 10_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    made = LeaseWorld(tmp_path)
    hold_six(made)
    yield made
    made.close()


def hold_six(world: LeaseWorld) -> None:
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature=FEATURE, amount=6, reservation="m1", ttl_ms=TTL_MS
    )
    call = Call(Method.RESERVE, reserve.SerializeToString())
    assert isinstance(world.seam.answer([call])[0], Pending)
    world.grant(world.request(), 10)


def tell(world: LeaseWorld, used: int) -> None:
    world.gate.reservations.tell("acme", "m1", used)


def extend(world: LeaseWorld, ttl_ms: int = TTL_MS) -> None:
    request = sidecar_pb.ExtendRequest(customer="acme", reservation="m1", ttl_ms=ttl_ms)
    (answer,) = world.seam.answer([Call(Method.EXTEND, request.SerializeToString())])
    assert isinstance(answer, bytes)


def settle(world: LeaseWorld, amount: int) -> sidecar_pb.SettleResponse:
    request = sidecar_pb.SettleRequest(customer="acme", reservation="m1", amount=amount)
    (answer,) = world.seam.answer([Call(Method.SETTLE, request.SerializeToString())])
    assert isinstance(answer, bytes), answer
    return sidecar_pb.SettleResponse.FromString(answer)


def records(world: LeaseWorld) -> list[pb.UsageRecord]:
    found, after = [], START
    while stored := world.journal.read_unsettled(after, 1_000, 1 << 20):
        found += [decode_record(each.payload).record for each in stored]
        after = Position(stored[-1].epoch_index, stored[-1].number)
    return found


def charged(world: LeaseWorld) -> list[int]:
    return [entry.amount for record in records(world) for entry in record.entries]


def expire(world: LeaseWorld, milliseconds: int = TTL_MS) -> None:
    world.later(milliseconds)
    world.seam.keep_holds()


def restart(world: LeaseWorld, folder: Path) -> LeaseWorld:
    """Kill the sidecar and start it again, at the same time."""
    moment = world.moment
    world.close()
    again = LeaseWorld(folder)
    again.moment = moment
    replay_journal(again.journal, again.gate, 0, 0)
    return again


def test_what_was_told_is_charged_at_the_deadline_and_the_rest_goes_back(world: LeaseWorld) -> None:
    tell(world, 4)
    expire(world)
    record = records(world)[-1]
    assert [(e.amount, e.kind) for e in record.entries] == [(4, pb.USAGE_KIND_SETTLE)]
    assert [(c.end, c.charged_amount) for c in record.holds_closed] == [(pb.HOLD_END_EXPIRED, 4)]
    assert world.draws() == {1: 4}
    decision = world.check(0, FEATURE).decision
    assert (decision.used, decision.reserved) == (4, 0)
    expire(world)
    assert charged(world) == [4]


def test_who_settles_it_after_all_is_charged_what_is_left(world: LeaseWorld) -> None:
    tell(world, 4)
    expire(world)
    settled = settle(world, 9)
    assert (settled.receipt.amount, settled.charged_before_amount) == (5, 4)
    assert (settled.had_expired, settled.excess_amount, settled.uncharged_amount) == (True, 5, 0)
    assert charged(world) == [4, 5]
    assert world.draws() == {1: 9}
    assert settle(world, 9).replayed


def test_fewer_than_were_told_give_nothing_back(world: LeaseWorld) -> None:
    tell(world, 4)
    expire(world)
    settled = settle(world, 3)
    assert (settled.receipt.amount, settled.charged_before_amount) == (0, 4)
    assert settled.uncharged_amount == 0
    assert charged(world) == [4, 0]


def test_a_restart_forgets_what_was_told_since_the_last_record(tmp_path: Path) -> None:
    world = LeaseWorld(tmp_path)
    hold_six(world)
    tell(world, 3)
    extend(world)
    tell(world, 5)
    world = restart(world, tmp_path)
    expire(world)
    assert charged(world) == [3]
    world = restart(world, tmp_path)
    settled = settle(world, 5)
    assert (settled.receipt.amount, settled.charged_before_amount) == (2, 3)
    world.close()


def test_a_hold_that_is_written_again_says_what_was_told(tmp_path: Path) -> None:
    world = LeaseWorld(tmp_path)
    hold_six(world)
    extend(world, TTL_MS_MAX)
    tell(world, 5)
    expire(world, RESTATED_MS)
    assert [hold.used_amount for r in records(world) for hold in r.holds_opened] == [0, 0, 5]
    world = restart(world, tmp_path)
    expire(world, TTL_MS_MAX)
    assert charged(world) == [5]
    world.close()


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (ExcessPolicy(ExcessKind.REJECT), 6),
        (ExcessPolicy(ExcessKind.TAKE_AVAILABLE), 10),
        (ExcessPolicy(ExcessKind.OVERDRAFT, 5), 11),
        (ExcessPolicy(ExcessKind.OVERDRAFT), 12),
    ],
)
def test_beyond_the_hold_the_excess_policy_decides(
    tmp_path: Path, policy: ExcessPolicy, most: int
) -> None:
    world = LeaseWorld(tmp_path)
    base = leased_catalog(10, 9)
    changed = replace(base.features[FEATURE], excess=policy)
    world.gate.cache.apply_catalog(replace(base, features={**base.features, FEATURE: changed}))
    hold_six(world)
    tell(world, 12)
    expire(world)
    assert charged(world) == [most]
    assert world.draws() == {1: min(most, 10)}
    world.close()


def test_of_too_long_ago_nothing_is_charged(world: LeaseWorld) -> None:
    tell(world, 4)
    expire(world, 36 * DAY_MS)
    assert charged(world) == []
    assert [c.end for r in records(world) for c in r.holds_closed] == [pb.HOLD_END_EXPIRED]


def test_what_cannot_be_journaled_is_charged_once_it_can(world: LeaseWorld) -> None:
    tell(world, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.journal, "_bytes_max", 0)
        expire(world)
        assert world.gate.reservations.held_units == 6
        assert world.check(0, FEATURE).decision.used == 6
    world.seam.keep_holds()
    assert charged(world) == [4]
    assert world.check(0, FEATURE).decision.used == 4


def test_a_release_of_what_expired_leaves_the_charge(world: LeaseWorld) -> None:
    tell(world, 4)
    expire(world)
    request = sidecar_pb.ReleaseRequest(customer="acme", reservation="m1")
    (answer,) = world.seam.answer([Call(Method.RELEASE, request.SerializeToString())])
    assert not isinstance(answer, Status | Pending)
    assert sidecar_pb.ReleaseResponse.FromString(answer).released_amount == 0
    assert charged(world) == [4]
