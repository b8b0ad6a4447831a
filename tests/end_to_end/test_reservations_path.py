"""Reserve, settle and meter with the client, through both processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.end_to_end.world import World, catalog, check, eventually
from weighbridge import Client, RetryPolicy
from weighbridge.client import SidecarUnreachableError
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

FEATURE = "events"
PATIENT = RetryPolicy(attempts_max=100)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    try:
        found.start()
        found.admin().apply(catalog())
        found.admin().create("acme")
        eventually(lambda: check(found.api(), "acme", FEATURE).decision.allowed)
        yield found
    finally:
        found.end()


async def test_what_is_settled_and_metered_reaches_the_control_plane(world: World) -> None:
    async with Client(f"127.0.0.1:{world.sidecar_port}", timeout_s=20, retry=PATIENT) as client:
        async with client.reservation("acme", FEATURE, 100, dimensions={"model": "m"}) as hold:
            assert hold
            world.sidecar.kill()
            world.sidecar.start()
            assert (await hold.settle(60)).receipt.amount == 60
        async with client.reservation("acme", FEATURE, 1000):
            pass
        async with client.meter("acme", FEATURE, 10) as meter:
            for used in (5, 25, 40):
                assert await meter.used(used)
        assert meter.settlement is not None
        assert meter.settlement.receipt.amount == 40
        assert eventually(lambda: world.admin().used("acme", FEATURE) == 100)


async def test_a_sidecar_that_is_killed_loses_nothing_of_a_meter(world: World) -> None:
    async with Client(f"127.0.0.1:{world.sidecar_port}", timeout_s=20, retry=PATIENT) as client:

        async def work() -> None:
            async with client.meter("acme", FEATURE, 10) as meter:
                assert await meter.used(7)
                world.sidecar.kill()
                world.sidecar.start()
                await meter.used(9)

        with pytest.raises(SidecarUnreachableError):
            await work()
        assert eventually(lambda: world.admin().used("acme", FEATURE) == 9)


async def test_what_a_meter_was_told_outlives_its_sidecar_and_its_client(world: World) -> None:
    opening = pb.MeterOpen(customer="acme", feature=FEATURE, reservation="m1", chunk_amount=10)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.sidecar_port}") as channel:
        stub: Any = SidecarServiceStub(channel)
        stream = stub.Meter(timeout=20)
        for message in (pb.MeterRequest(open=opening), pb.MeterRequest(used_amount=7)):
            await stream.write(message)
            assert (await stream.read()).signal == pb.METER_SIGNAL_CONTINUE
        world.sidecar.kill()
    world.sidecar.start()
    # Nobody is left who meters it; only its deadline comes sooner than it would.
    hold = {"customer": "acme", "reservation": "m1"}
    extended = world.api().Extend(pb.ExtendRequest(**hold, ttl_ms=1_000), timeout=20)
    assert extended.reservation.amount == 27
    assert eventually(lambda: world.admin().used("acme", FEATURE) == 7)
    assert check(world.api(), "acme", FEATURE).decision.reserved == 0
    settled = world.api().Settle(pb.SettleRequest(**hold, amount=9), timeout=20)
    assert (settled.receipt.amount, settled.charged_before_amount) == (2, 7)
    assert eventually(lambda: world.admin().used("acme", FEATURE) == 9)
