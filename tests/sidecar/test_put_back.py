"""Units that a hold puts back, while the records that say so are on their way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.leases import IDLE_MS
from sidecar.transport.seam import Call, Method
from tests.sidecar.lease_world import LeaseWorld
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    found = LeaseWorld(tmp_path)
    yield found
    found.close()


def hold_six_and_use_two(world: LeaseWorld) -> None:
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature="denying", amount=6, reservation="r1"
    )
    world.seam.answer([Call(Method.RESERVE, reserve.SerializeToString())])
    world.grant(world.request(), 10)
    settle = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=2)
    (answer,) = world.seam.answer([Call(Method.SETTLE, settle.SerializeToString())])
    assert isinstance(answer, bytes)


def test_what_is_put_back_is_not_said_to_be_returned_before_its_record_is_settled(
    world: LeaseWorld,
) -> None:
    hold_six_and_use_two(world)
    (lease,) = world.gate.leases.held()
    world.receive(lease_recall=pb.LeaseRecall(leases=[lease.lease_id]))
    (returned,) = world.request().returned
    # All 8 are given up here; but on its way up is a record that draws 6.
    assert (lease.remaining, returned.returned) == (0, 4)
    assert world.begin_stream().leases[0].returned == 4

    world.journal.settle(world.journal.sidecar_id, world.journal.epoch, 1, world.moment.now_ms)
    world.talk.settled()
    assert world.requests() == []
    world.journal.settle(world.journal.sidecar_id, world.journal.epoch, 2, world.moment.now_ms)
    world.talk.settled()
    assert world.request().returned[0].returned == 8


def test_a_lease_ends_once_what_was_put_back_is_settled(world: LeaseWorld) -> None:
    hold_six_and_use_two(world)
    world.later(IDLE_MS)
    world.gate.leases.tidy(world.moment.now_ms, world.moment.boot_ms)
    assert list(world.gate.leases.held())

    world.gate.leases.settled(2)
    world.gate.leases.tidy(world.moment.now_ms, world.moment.boot_ms)
    (returned,) = world.request().returned
    assert (returned.ended, returned.returned, returned.granted) == (True, 8, 10)
