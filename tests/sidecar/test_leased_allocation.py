"""Seats that are leased: a release gives units back where they came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.transport.seam import Answer, Call, Method, Pending
from sidecar.wire.record import decode_record
from tests.sidecar.lease_world import LeaseWorld, leased_catalog, response
from weighbridge.rules.catalog import Meter
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

SEATS = "denying"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    found = LeaseWorld(tmp_path)
    found.gate.cache.apply_catalog(seats(3))
    yield found
    found.close()


def seats(version: int):  # noqa: ANN201 (a Catalog)
    base = leased_catalog(10, version)
    feature = replace(base.features[SEATS], meter=Meter.ALLOCATION)
    return replace(base, features={**base.features, SEATS: feature})


def acquire(world: LeaseWorld, units: int) -> None:
    waiting = world.consume(units)
    world.grant(world.request(), units)
    assert response(waiting).decision.allowed


def release(world: LeaseWorld, units: int, *, fleetwide: bool = False) -> Answer:
    request = sidecar_pb.ConsumeRequest(
        customer="acme",
        feature=SEATS,
        amount=-units,
        idempotency_key="k" if fleetwide else "",
        idempotency_scope=(
            pb.IDEMPOTENCY_SCOPE_FLEET if fleetwide else pb.IDEMPOTENCY_SCOPE_UNSPECIFIED
        ),
    )
    return world.seam.answer([Call(Method.CONSUME, request.SerializeToString())])[0]


def records(world: LeaseWorld) -> list[dict[int, int]]:
    stored = world.journal.read_unsettled((0, 0), 1_000, 1 << 20)
    drawn = (decode_record(each.payload).record.draws for each in stored)
    return [{draw.lease: draw.units for draw in each} for each in drawn]


def test_what_is_released_here_is_acquired_here_again_without_asking(world: LeaseWorld) -> None:
    acquire(world, 4)
    assert response(release(world, 3)).decision.allowed
    world.requests()
    assert response(world.consume(3)).decision.allowed
    assert isinstance(world.consume(1), Pending)
    assert records(world) == [{1: 4}, {1: -3}, {1: 3}]


def test_what_others_gave_goes_back_to_the_pool_and_lifts_the_refusal(world: LeaseWorld) -> None:
    acquire(world, 2)
    waiting = world.consume(1)
    world.refuse(world.request())
    assert not response(waiting).decision.allowed
    # More than this lease gave: these were acquired elsewhere.
    assert response(release(world, 5)).decision.allowed
    assert records(world)[-1] == {}
    assert world.gate.leases.has_released, "the record goes before anything is asked for"
    assert isinstance(world.consume(1), Pending)


def test_a_release_that_others_may_have_made_already_is_left_to_them(world: LeaseWorld) -> None:
    acquire(world, 2)
    assert response(release(world, 2, fleetwide=True)).decision.allowed
    assert records(world)[-1] == {}
    assert isinstance(world.consume(1), Pending)


def test_nothing_is_put_back_into_a_lease_of_limits_that_are_no_more(world: LeaseWorld) -> None:
    acquire(world, 4)
    world.gate.cache.apply_catalog(seats(4))
    assert isinstance(world.consume(1), Pending)
    assert response(release(world, 2)).decision.allowed
    assert records(world)[-1] == {}


def test_a_release_that_cannot_be_written_leaves_nothing(world: LeaseWorld) -> None:
    acquire(world, 4)
    world.journal.close()
    release(world, 3)
    (pool,) = world.gate.leases.pools()
    assert (pool.remaining, pool.drawn) == (0, 4)
    assert not any(pool.put_back.values())
