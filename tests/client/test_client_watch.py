"""Watching a customer with the asyncio client, against a real gRPC server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest
from sidecar_double import UNAVAILABLE, ScriptedSidecar, entitlements, never

from weighbridge import Client
from weighbridge import client as wb
from weighbridge.v1 import sidecar_service_pb2 as pb


async def test_watch_yields_changes_and_comes_back_after_a_lost_stream(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.streams = [
        [pb.WatchResponse(entitlements=entitlements("free")), UNAVAILABLE],
        [UNAVAILABLE],
        [pb.WatchResponse(entitlements=entitlements("pro"))],
        [pb.WatchResponse(entitlements=entitlements("team")), never()],
    ]
    plans = []
    async with aclosing(client.watch("acme", resource="ws1")) as changes:
        async for change in changes:
            plans.append(change.plan)
            if len(plans) == 3:
                break
    assert plans == ["free", "pro", "team"]
    assert sidecar.requests == [pb.WatchRequest(customer="acme", resource="ws1")] * 4
    async with asyncio.timeout(10):
        for _ in range(4):
            await sidecar.watches_ended.acquire()


async def test_watch_raises_when_patience_has_run_out(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.streams = [[UNAVAILABLE], [], []]
    with pytest.raises(wb.SidecarUnreachableError, match="UNAVAILABLE"):
        await anext(client.watch("acme", patience_s=0))
    with pytest.raises(wb.SidecarUnreachableError, match="ends every stream"):
        await anext(client.watch("acme", patience_s=0))


async def test_watch_raises_what_repetition_cannot_mend(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.streams = [[(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watches")]]
    with pytest.raises(wb.OverloadedError, match="too many watches"):
        await anext(client.watch("acme", patience_s=None))


async def test_close_ends_a_watch(address: str, sidecar: ScriptedSidecar) -> None:
    sidecar.streams = [[pb.WatchResponse(entitlements=entitlements("free")), never()]]
    client = Client(address)
    plans = []

    async def follow() -> None:
        async for change in client.watch("acme"):
            plans.append(change.plan)
            first.set()

    first = asyncio.Event()
    task = asyncio.create_task(follow())
    await first.wait()
    await client.close()
    await task
    assert plans == ["free"]


async def test_a_cancelled_task_ends_its_watch(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.streams = [[pb.WatchResponse(entitlements=entitlements("free")), never()]]
    first = asyncio.Event()

    async def follow() -> None:
        async for _ in client.watch("acme"):
            first.set()

    task = asyncio.create_task(follow())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await sidecar.watches_ended.acquire()
