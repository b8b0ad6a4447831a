"""Meter: chunks held ahead of use, warnings, stops, and what a broken stream has used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from sidecar.service.metering import HOLD_TTL_MS, MeterService
from sidecar.transport.reference import SERVICE, ReferenceTransport
from sidecar.wire.record import decode_record
from tests.sidecar.gate_world import catalog, customer
from tests.sidecar.lease_world import LeaseWorld, leased_catalog
from weighbridge.rules.catalog import CustomerStatus
from weighbridge.rules.reservation import ExcessKind, ExcessPolicy
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

LEASED, CACHED, HARD_CACHED = "denying", "tokens", "allowing"
WAIT_S = 20.0


class MeterWorld(LeaseWorld):
    """A lease world that serves Meter on a real port."""

    async def serve(self) -> None:
        transport = ReferenceTransport(self.seam, self.waiting, 100)
        self.meters = MeterService(self.gate, self.seam, transport.ask, lambda: self.moment)
        self.server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler(
            SERVICE, {**transport.handlers(), **self.meters.handlers()}
        )
        self.server.add_generic_rpc_handlers((handler,))
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub: Any = SidecarServiceStub(self.channel)

    def recorded(self) -> int:
        """Return the units that the journal's records charge."""
        stored = self.journal.read_unsettled((0, 0), 1_000, 1 << 20)
        records = [decode_record(each.payload).record for each in stored]
        return sum(entry.amount for record in records for entry in record.entries)

    async def until(self, is_so: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < deadline_s, "it never came about"
            await asyncio.sleep(0.005)

    async def lease(self, units: int) -> None:
        """Grant the units of the next request."""
        requests: list[Any] = []
        await self.until(lambda: requests.extend(self.requests()) or requests)
        for request in requests:
            if request.wants:
                self.grant(request, *[units] * len(request.wants))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MeterWorld]:
    found = MeterWorld(tmp_path)
    await found.serve()
    yield found
    await found.channel.close()
    await found.server.stop(None)
    found.close()


class Stream:
    """The caller's side of one Meter."""

    def __init__(self, world: MeterWorld) -> None:
        self.call = world.stub.Meter(timeout=WAIT_S)

    async def open(self, feature: str, chunk: int | None = 10, name: str = "m1") -> Any:
        opening = pb.MeterOpen(
            customer="acme", feature=feature, reservation=name, chunk_amount=chunk
        )
        await self.call.write(pb.MeterRequest(open=opening))
        return await self.read()

    async def used(self, amount: int) -> Any:
        await self.call.write(pb.MeterRequest(used_amount=amount))
        return await self.read()

    async def end(self) -> Any:
        await self.call.done_writing()
        return await self.read()

    async def read(self) -> Any:
        """Return the next answer; None where the stream has ended."""
        try:
            answer = await self.call.read()
        except grpc.aio.AioRpcError:
            return None
        return None if answer is grpc.aio.EOF else answer


async def code_of(stream: Stream) -> grpc.StatusCode:
    return await stream.call.code()


async def test_chunks_are_held_ahead_and_the_receipt_is_what_is_recorded(
    world: MeterWorld,
) -> None:
    stream = Stream(world)
    first = await stream.open(CACHED)
    assert (first.signal, first.held_amount) == (pb.METER_SIGNAL_CONTINUE, 10)
    assert first.decision.allowed
    assert first.remaining == 100
    answer = await stream.used(7)
    assert (answer.signal, answer.used_amount, answer.held_amount) == (
        pb.METER_SIGNAL_CONTINUE,
        7,
        27,
    )
    assert answer.remaining == 93
    assert (await stream.used(15)).held_amount == 27
    last = await stream.end()
    assert last.signal == pb.METER_SIGNAL_SETTLED
    assert last.receipt.amount == 15 == world.recorded()
    assert await code_of(stream) is grpc.StatusCode.OK
    assert world.check(1, CACHED).decision.used == 15
    assert len(world.gate.reservations) == len(world.meters) == 0


async def test_thresholds_of_the_tightest_limit_are_told_once(world: MeterWorld) -> None:
    stream = Stream(world)
    await stream.open(CACHED)
    warned = [await stream.used(used) for used in (79, 80, 90, 95, 99)]
    assert [(w.signal, w.threshold_percent) for w in warned] == [
        (pb.METER_SIGNAL_CONTINUE, 0),
        (pb.METER_SIGNAL_WARN, 80),
        (pb.METER_SIGNAL_CONTINUE, 0),
        (pb.METER_SIGNAL_WARN, 95),
        (pb.METER_SIGNAL_CONTINUE, 0),
    ]
    assert warned[-1].remaining == 1
    await stream.end()


async def test_a_limit_that_refuses_the_next_chunk_stops(world: MeterWorld) -> None:
    stream = Stream(world)
    world.gate.cache.apply_catalog(catalog(3))
    await stream.open(HARD_CACHED, 2)
    assert (await stream.used(8)).signal == pb.METER_SIGNAL_WARN
    stopped = await stream.used(9)
    assert stopped.signal == pb.METER_SIGNAL_STOP
    assert stopped.decision.reason == types_pb.REASON_LIMIT_REACHED
    assert (stopped.held_amount, stopped.remaining) == (10, 1)
    last = await stream.end()
    assert last.receipt.amount == 9 == world.recorded()


async def test_a_meter_that_is_refused_at_first_holds_nothing(world: MeterWorld) -> None:
    stream = Stream(world)
    answer = await stream.open("sso")
    assert await code_of(stream) is grpc.StatusCode.INVALID_ARGUMENT
    assert answer is None
    other = Stream(world)
    world.gate.cache.apply_catalog(catalog(3))
    refused = await other.open(HARD_CACHED, 11)
    assert refused.signal == pb.METER_SIGNAL_STOP
    assert refused.decision.allowed_amount == 10
    assert await code_of(other) is grpc.StatusCode.OK
    assert world.recorded() == len(world.gate.reservations) == 0


async def test_units_are_leased_ahead_of_use(world: MeterWorld) -> None:
    stream = Stream(world)
    opening = asyncio.create_task(stream.open(LEASED, 2))
    await world.lease(10)
    assert (await opening).held_amount == 2
    assert (await stream.used(1)).held_amount == 5
    assert world.draws() == {1: 5}
    last = await stream.end()
    assert last.receipt.amount == 1 == world.draws()[1]


async def test_what_a_broken_stream_used_is_settled(world: MeterWorld) -> None:
    stream = Stream(world)
    await stream.open(CACHED)
    await stream.used(7)
    stream.call.cancel()
    await world.until(lambda: not len(world.gate.reservations))
    assert world.recorded() == 7
    # A caller that does not know settles it again, and gets the same receipt.
    again = await world.stub.Settle(
        pb.SettleRequest(customer="acme", reservation="m1", amount=7), timeout=WAIT_S
    )
    assert again.replayed
    assert again.receipt.amount == 7


async def test_records_of_the_hold_say_what_was_told(world: MeterWorld) -> None:
    def told() -> int:
        stored = world.journal.read_unsettled((0, 0), 1_000, 1 << 20)
        records = [decode_record(each.payload).record for each in stored]
        return [hold.used_amount for record in records for hold in record.holds_opened][-1]

    stream = Stream(world)
    await stream.open(CACHED)
    assert told() == 0
    await stream.used(7)
    assert told() == 7
    await stream.used(15)
    # A whole chunk was held still, so nothing was written.
    assert told() == 7
    world.later(HOLD_TTL_MS // 2 + 1)
    world.meters.tick()
    assert told() == 15
    await stream.end()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (pb.MeterRequest(used_amount=6), "used_amount: 6 is less than the 7"),
        (pb.MeterRequest(used_amount=-1), "used_amount"),
        (pb.MeterRequest(open=pb.MeterOpen(customer="acme")), "used_amount"),
        (pb.MeterRequest(), "used_amount"),
    ],
)
async def test_a_wrong_chunk_ends_the_stream_and_settles_what_was_told(
    world: MeterWorld, wrong: pb.MeterRequest, field: str
) -> None:
    stream = Stream(world)
    await stream.open(CACHED)
    await stream.used(7)
    await stream.call.write(wrong)
    assert await stream.read() is None
    assert await code_of(stream) is grpc.StatusCode.INVALID_ARGUMENT
    assert field in await stream.call.details()
    await world.until(lambda: not len(world.gate.reservations))
    assert world.recorded() == 7


async def test_what_cannot_be_metered_is_told(world: MeterWorld) -> None:
    for opening, field in (
        (pb.MeterRequest(used_amount=1), "open"),
        (pb.MeterRequest(open=pb.MeterOpen(customer="a b", reservation="r")), "customer"),
        (pb.MeterRequest(open=pb.MeterOpen(chunk_amount=0)), "chunk_amount"),
    ):
        stream = Stream(world)
        await stream.call.write(opening)
        assert await stream.read() is None
        assert await code_of(stream) is grpc.StatusCode.INVALID_ARGUMENT
        assert (await stream.call.details()).startswith(field)
    first, second = Stream(world), Stream(world)
    await first.open(CACHED)
    assert await second.open(CACHED) is None
    assert await code_of(second) is grpc.StatusCode.ALREADY_EXISTS
    assert (await first.used(3)).signal == pb.METER_SIGNAL_CONTINUE
    await first.end()
    third = Stream(world)
    assert await third.open(CACHED) is None
    assert await code_of(third) is grpc.StatusCode.ALREADY_EXISTS
    assert world.recorded() == 3


async def test_a_revoked_customer_and_a_lowered_limit_stop_the_next_chunk(
    world: MeterWorld,
) -> None:
    stream = Stream(world)
    world.gate.cache.apply_catalog(catalog(3))
    await stream.open(HARD_CACHED, 2)
    assert (await stream.used(1)).signal == pb.METER_SIGNAL_CONTINUE
    lowered = catalog(4)
    plans = lowered.plans["free"][1]
    entitlement = plans.entitlements[HARD_CACHED]
    (limit,) = entitlement.limits
    less = replace(entitlement, limits=(replace(limit, limit=3),))
    plan = replace(plans, entitlements={**plans.entitlements, HARD_CACHED: less})
    world.gate.cache.apply_catalog(replace(lowered, plans={**lowered.plans, "free": {1: plan}}))
    stopped = await stream.used(1)
    assert (stopped.signal, stopped.decision.reason, stopped.decision.limit) == (
        pb.METER_SIGNAL_STOP,
        types_pb.REASON_LIMIT_REACHED,
        3,
    )
    world.gate.cache.apply_customer(customer(version=5, status=CustomerStatus.REVOKED))
    revoked = await stream.used(2)
    assert revoked.decision.reason == types_pb.REASON_REVOKED
    last = await stream.end()
    assert last.receipt.amount == 2 == world.recorded()


async def test_without_the_control_plane_what_is_held_is_used_up(world: MeterWorld) -> None:
    stream = Stream(world)
    opening = asyncio.create_task(stream.open(LEASED, 2))
    await world.lease(3)
    assert (await opening).held_amount == 2
    world.gate.link.is_connected = False
    world.later(20_000, is_heard=False)
    going = await stream.used(1)
    assert (going.signal, going.held_amount) == (pb.METER_SIGNAL_CONTINUE, 3)
    stopped = await stream.used(2)
    assert stopped.signal == pb.METER_SIGNAL_STOP
    assert stopped.decision.reason == types_pb.REASON_OUTAGE_POLICY
    last = await stream.end()
    assert last.receipt.amount == 2 == world.draws()[1]


async def test_units_that_do_not_come_in_time_stop_when_the_hold_is_used_up(
    world: MeterWorld,
) -> None:
    stream = Stream(world)
    opening = asyncio.create_task(stream.open(LEASED, 2))
    await world.lease(2)
    await opening

    async def after_waiting(used: int) -> Any:
        asked = asyncio.create_task(stream.used(used))
        await world.until(lambda: len(world.waiting))
        world.later(5_000)
        world.waiting.tick(world.moment)
        return await asked

    assert (await after_waiting(1)).signal == pb.METER_SIGNAL_CONTINUE
    stopped = await after_waiting(2)
    assert stopped.signal == pb.METER_SIGNAL_STOP
    assert stopped.decision.reason == types_pb.REASON_OUTAGE_POLICY
    assert (await stream.end()).receipt.amount == 2


async def test_an_open_meter_keeps_its_hold(world: MeterWorld) -> None:
    stream = Stream(world)
    await stream.open(CACHED)
    for _ in range(4):
        world.later(HOLD_TTL_MS * 2 // 3)
        world.meters.tick()
        world.seam.keep_holds()
    (hold,) = world.gate.reservations
    assert not hold.has_expired
    assert (await stream.end()).receipt.amount == 0


async def test_what_cannot_be_journaled_is_settled_later(
    world: MeterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(world)
    await stream.open(CACHED)
    await stream.used(7)
    with monkeypatch.context() as broken:
        broken.setattr(world.journal, "_bytes_max", 0)
        assert await stream.end() is None
        assert await code_of(stream) in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        }
        world.meters.tick()
        assert world.recorded() == 0
    world.meters.tick()
    assert world.recorded() == 7
    world.meters.settle_all()
    assert world.recorded() == 7


async def test_what_the_excess_policy_does_not_take_is_told(world: MeterWorld) -> None:
    base = leased_catalog(10, 7)
    tokens = replace(base.features[CACHED], excess=ExcessPolicy(ExcessKind.OVERDRAFT, 2))
    world.gate.cache.apply_catalog(replace(base, features={**base.features, CACHED: tokens}))
    stream = Stream(world)
    await stream.open(CACHED)
    world.gate.cache.apply_customer(customer(version=5, status=CustomerStatus.REVOKED))
    assert (await stream.used(20)).signal == pb.METER_SIGNAL_STOP
    last = await stream.end()
    assert (last.receipt.amount, last.uncharged_amount) == (12, 8)
    assert world.recorded() == 12


async def test_a_stop_of_the_sidecar_settles_what_open_meters_used(world: MeterWorld) -> None:
    stream = Stream(world)
    await stream.open(CACHED)
    await stream.used(7)
    world.meters.settle_all()
    assert world.recorded() == 7
    stream.call.cancel()
