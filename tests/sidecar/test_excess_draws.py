"""What is settled beyond a hold is drawn from the leases that are here, as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.transport.seam import Call, Method, Pending
from tests.sidecar.lease_world import LeaseWorld
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    made = LeaseWorld(tmp_path)
    yield made
    made.close()


def settle(world: LeaseWorld, held: int, used: int) -> sidecar_pb.SettleResponse:
    """Hold units of a lease of 8, and settle another number."""
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature="denying", amount=held, reservation="r1"
    )
    call = Call(Method.RESERVE, reserve.SerializeToString())
    assert isinstance(world.seam.answer([call])[0], Pending)
    world.grant(world.request(), 8)
    request = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=used)
    (answer,) = world.seam.answer([Call(Method.SETTLE, request.SerializeToString())])
    assert isinstance(answer, bytes)
    return sidecar_pb.SettleResponse.FromString(answer)


@pytest.mark.parametrize(("used", "drawn"), [(7, 7), (8, 8), (9, 8), (12, 8)])
def test_excess_is_drawn_where_units_are_here(world: LeaseWorld, used: int, drawn: int) -> None:
    settled = settle(world, 6, used)
    assert (settled.receipt.amount, settled.excess_amount) == (used, used - 6)
    assert world.draws() == {1: drawn}
    (pool,) = world.gate.leases.held()
    assert (pool.drawn, pool.remaining) == (drawn, 8 - drawn)
