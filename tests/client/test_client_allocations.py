"""Acquiring and releasing with both clients."""

from __future__ import annotations

import asyncio

import pytest
from sidecar_double import ScriptedSidecar, consumed, refused, serving

from weighbridge import Client, SyncClient
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

REFUSED = pb.ConsumeResponse(decision=refused(types_pb2.REASON_LIMIT_REACHED))


async def test_acquire_and_release_consume_signed_amounts() -> None:
    sidecar = ScriptedSidecar()
    sidecar.script = [consumed()] * 3
    async with serving(sidecar, "127.0.0.1:0") as address, Client(address) as client:
        await client.acquire("acme", "seats", 2, resource="ws")
        await client.release("acme", "seats", 2, idempotency_key="gone")
        await client.consume("acme", "seats", -1)
        for call in (client.acquire, client.release):
            with pytest.raises(InvalidArgumentError, match="amount"):
                await call("acme", "seats", -1)
    assert [request.amount for request in sidecar.requests] == [2, -2, -1]
    assert sidecar.requests[0].resource == "ws"
    assert sidecar.requests[1].idempotency_key == "gone"


async def test_an_allocation_is_released_whatever_happens_within() -> None:
    sidecar = ScriptedSidecar()
    sidecar.script = [consumed()] * 4
    async with serving(sidecar, "127.0.0.1:0") as address, Client(address) as client:

        async def fail() -> None:
            async with client.allocation("acme", "jobs", resource="ws") as held:
                assert held
                raise RuntimeError("work failed")

        with pytest.raises(RuntimeError, match="work failed"):
            await fail()
        with SyncClient(address) as sync_client:

            def hold() -> None:
                with sync_client.allocation("acme", "jobs", 3) as held:
                    assert held

            await asyncio.to_thread(hold)
    assert [request.amount for request in sidecar.requests] == [1, -1, 3, -3]
    assert sidecar.requests[1].resource == "ws"
    keys = {request.idempotency_key for request in sidecar.requests}
    assert len(keys) == 4


async def test_what_was_refused_is_not_released() -> None:
    sidecar = ScriptedSidecar()
    sidecar.script = [REFUSED]
    async with (
        serving(sidecar, "127.0.0.1:0") as address,
        Client(address) as client,
        client.allocation("acme", "jobs") as held,
    ):
        assert not held
    assert [request.amount for request in sidecar.requests] == [1]
