"""What is settled beyond a hold is drawn from the leases that are here, as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.reservations import TTL_MS_MIN
from sidecar.transport.seam import Call, Method, Pending
from tests.sidecar.lease_world import LeaseWorld
from weighbridge.rules.window import DAY_MS
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    made = LeaseWorld(tmp_path)
    yield made
    made.close()


def hold_units(world: LeaseWorld, held: int) -> None:
    """Hold units of a lease of 8."""
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature="denying", amount=held, reservation="r1", ttl_ms=TTL_MS_MIN
    )
    call = Call(Method.RESERVE, reserve.SerializeToString())
    assert isinstance(world.seam.answer([call])[0], Pending)
    world.grant(world.request(), 8)


def settle(world: LeaseWorld, used: int) -> sidecar_pb.SettleResponse:
    request = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=used)
    (answer,) = world.seam.answer([Call(Method.SETTLE, request.SerializeToString())])
    assert isinstance(answer, bytes)
    return sidecar_pb.SettleResponse.FromString(answer)


@pytest.mark.parametrize(("used", "drawn"), [(7, 7), (8, 8), (9, 8), (12, 8)])
def test_excess_is_drawn_where_units_are_here(world: LeaseWorld, used: int, drawn: int) -> None:
    hold_units(world, 6)
    settled = settle(world, used)
    assert (settled.receipt.amount, settled.excess_amount) == (used, used - 6)
    assert world.draws() == {1: drawn}
    (pool,) = world.gate.leases.held()
    assert (pool.drawn, pool.remaining) == (drawn, 8 - drawn)


def test_what_had_expired_is_drawn_anew(world: LeaseWorld) -> None:
    hold_units(world, 6)
    world.later(TTL_MS_MIN)
    world.seam.keep_holds()
    assert world.draws()[1] == 0
    settled = settle(world, 5)
    assert (settled.receipt.amount, settled.had_expired) == (5, True)
    assert world.draws() == {1: 5}


def test_a_window_that_turned_gives_nothing_for_the_one_before(world: LeaseWorld) -> None:
    hold_units(world, 6)
    world.later(31 * DAY_MS)
    world.begin_stream()
    assert isinstance(world.consume(1), Pending)
    world.grant(world.request(), 8)
    before = world.draws()
    settled = settle(world, 9)
    assert (settled.receipt.amount, settled.excess_amount) == (9, 3)
    assert world.draws() == before
