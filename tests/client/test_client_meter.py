"""Metering with both clients."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from sidecar_double import UNAVAILABLE, ScriptedSidecar, allowed, never, refused

from weighbridge import Client, SyncClient
from weighbridge import client as wb
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

OPENED = pb.MeterResponse(
    signal=pb.METER_SIGNAL_CONTINUE, held_amount=10, remaining=100, decision=allowed()
)
STOP = pb.MeterResponse(
    signal=pb.METER_SIGNAL_STOP,
    used_amount=9,
    held_amount=10,
    decision=refused(types_pb2.REASON_LIMIT_REACHED),
)


def going(used: int, **fields: Any) -> pb.MeterResponse:
    return pb.MeterResponse(
        signal=pb.METER_SIGNAL_CONTINUE, used_amount=used, held_amount=used + 20, **fields
    )


def settled(used: int) -> pb.MeterResponse:
    receipt = pb.Receipt(epoch="e1", amount=used)
    return pb.MeterResponse(signal=pb.METER_SIGNAL_SETTLED, used_amount=used, receipt=receipt)


def settlement(used: int) -> pb.SettleResponse:
    return pb.SettleResponse(receipt=pb.Receipt(epoch="e1", amount=used))


async def lost_after(client: Client, *used: int) -> wb.Meter:
    """Meter until the stream breaks."""
    with pytest.raises(wb.SidecarUnreachableError):  # noqa: PT012 (each of them may be the one)
        async with client.meter("acme", "tokens", 10, reservation="m1") as meter:
            for amount in used:
                await meter.used(amount)
    return meter


async def test_work_is_metered_as_it_runs(client: Client, sidecar: ScriptedSidecar) -> None:
    warn = pb.MeterResponse(
        signal=pb.METER_SIGNAL_WARN, used_amount=8, held_amount=20, threshold_percent=80
    )
    sidecar.streams = [[OPENED, going(5), warn, STOP, settled(9)]]
    async with client.meter("acme", "tokens", 10, dimensions={"model": "m"}) as meter:
        assert meter
        assert meter.last is not None
        assert (meter.last.held, meter.last.remaining) == (10, 100)
        answer = await meter.used(5)
        assert answer.signal is wb.MeterSignal.CONTINUE
        warned = await meter.add(3)
        assert warned
        assert warned.threshold_percent == 80
        stopped = await meter.add()
        assert not stopped
        assert not meter
        assert stopped.decision is not None
        assert stopped.decision.reason is wb.Reason.LIMIT_REACHED
    assert meter.settlement is not None
    assert meter.settlement.receipt.amount == 9
    opening, *told = sidecar.requests
    assert opening.open.chunk_amount == 10
    assert dict(opening.open.dimensions) == {"model": "m"}
    assert [request.used_amount for request in told] == [5, 8, 9]


async def test_what_was_told_is_settled_when_the_work_fails(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.streams = [[OPENED, going(5), settled(5)]]
    meters = []

    async def fail() -> None:
        async with client.meter("acme", "tokens", 10) as meter:
            meters.append(meter)
            await meter.used(5)
            raise RuntimeError("work failed")

    with pytest.raises(RuntimeError, match="work failed"):
        await fail()
    assert meters[0].settlement is not None


async def test_a_broken_stream_is_settled_by_a_call(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.streams = [[OPENED, going(5), UNAVAILABLE]]
    sidecar.script = [UNAVAILABLE, settlement(7)]
    meter = await lost_after(client, 5, 7)
    assert sidecar.requests[-1] == pb.SettleRequest(customer="acme", reservation="m1", amount=7)
    assert meter.settlement is not None


async def test_what_the_sidecar_settled_of_a_broken_stream_is_told(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.streams = [[OPENED, going(5), UNAVAILABLE]]
    sidecar.script = [(grpc.StatusCode.ABORTED, "another payload"), settlement(5)]
    meter = await lost_after(client, 5, 7)
    assert [r.amount for r in sidecar.requests[-2:]] == [7, 5]
    assert meter.settlement is not None
    assert meter.settlement.uncharged_amount == 2


async def test_a_silent_sidecar_is_not_waited_for(address: str, sidecar: ScriptedSidecar) -> None:
    async with Client(address, timeout_s=0.2) as client:
        sidecar.streams = [[OPENED, never()]]
        sidecar.script = [settlement(5)]
        with pytest.raises(wb.SidecarUnreachableError, match="no answer"):
            async with client.meter("acme", "tokens", 10) as meter:
                await meter.used(5)
        assert sidecar.requests[-1].amount == 5


async def test_a_cancelled_task_settles(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.streams = [[OPENED, going(5), never()]]
    sidecar.script = [settlement(6)]
    told = asyncio.Event()

    async def work() -> None:
        async with client.meter("acme", "tokens", 10) as meter:
            await meter.used(5)
            told.set()
            await meter.used(6)

    task = asyncio.create_task(work())
    await told.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sidecar.requests[-1].amount in (5, 6)


async def test_a_meter_that_is_refused_settles_nothing(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.streams = [
        [pb.MeterResponse(signal=pb.METER_SIGNAL_STOP, decision=STOP.decision), STOP]
    ]
    async with client.meter("acme", "tokens", 10) as meter:
        assert not meter
    assert meter.settlement is None


async def test_the_sync_client_meters_too(address: str, sidecar: ScriptedSidecar) -> None:
    sidecar.streams = [
        [OPENED, going(5), settled(5)],
        [OPENED, UNAVAILABLE],
        [OPENED, never()],
        [pb.MeterResponse(signal=pb.METER_SIGNAL_STOP, decision=STOP.decision), STOP],
    ]
    sidecar.script = [settlement(3), settlement(4)]

    def work() -> None:
        with SyncClient(address, timeout_s=10) as sync:
            with sync.meter("acme", "tokens", 10) as meter:
                assert meter.add(5)
            assert meter.settlement is not None
            assert meter.settlement.receipt.amount == 5
            with (
                pytest.raises(wb.SidecarUnreachableError),
                sync.meter("acme", "tokens", 10) as meter,
            ):
                meter.used(3)
            assert meter.settlement is not None
            with (
                pytest.raises(wb.SidecarUnreachableError),
                sync.meter("acme", "tokens", 10, timeout_s=0.2) as meter,
            ):
                meter.used(4)
            with sync.meter("acme", "tokens", 10) as meter:
                assert not meter

    await asyncio.to_thread(work)
    assert [r.amount for r in sidecar.requests if isinstance(r, pb.SettleRequest)] == [3, 4]
