"""A SidecarService that answers as a test scripts it, on a real grpc.aio server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2
from weighbridge.v1.sidecar_service_pb2_grpc import (
    SidecarServiceServicer,
    add_SidecarServiceServicer_to_server,
)

Step = Any
"""A reply; an (code, details) pair to abort with; or an async function that gives either."""


class ScriptedSidecar(SidecarServiceServicer):
    """Takes one step of the script per unary call, and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: list[Step] = []
        self.requests: list[Any] = []
        self.streams: list[list[Step]] = []
        self.watches_ended = asyncio.Semaphore(0)

    async def Check(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def BatchCheck(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Consume(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Report(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Reserve(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Extend(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Settle(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Release(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Meter(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        """Take a step per message, and one for the end of the caller's side."""
        steps = iter(self.streams.pop(0))
        async for request in requests:
            self.requests.append(request)
            yield await _resolve(next(steps), context)
        yield await _resolve(next(steps), context)

    async def Quote(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def GetEntitlements(self, request: Any, context: Any) -> Any:
        return await self._step(request, context)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        try:
            for step in self.streams.pop(0):
                yield await _resolve(step, context)
        finally:
            self.watches_ended.release()

    async def _step(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return await _resolve(self.script.pop(0), context)


async def _resolve(step: Step, context: Any) -> Any:
    if callable(step):
        step = await step()
    if isinstance(step, tuple):
        await context.abort(*step)
    return step


@asynccontextmanager
async def serving(sidecar: ScriptedSidecar, address: str) -> AsyncIterator[str]:
    """Serve until the block ends; gives the address, with the port that was chosen."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_SidecarServiceServicer_to_server(sidecar, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def never() -> Callable[[], Awaitable[Step]]:
    """Return a step that gives no answer before the call is cancelled."""
    return asyncio.Event().wait


UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "the journal cannot be written")


def allowed(**fields: Any) -> types_pb2.Decision:
    return types_pb2.Decision(
        allowed=True,
        feature="api.calls",
        decided_by=types_pb2.DECIDED_BY_CACHE,
        **fields,
    )


def refused(reason: types_pb2.Reason.ValueType, **fields: Any) -> types_pb2.Decision:
    return types_pb2.Decision(allowed=False, reason=reason, feature="api.calls", **fields)


def consumed(**fields: Any) -> pb.ConsumeResponse:
    receipt = pb.Receipt(epoch="e1", record_number=7, amount=3, included_amount=2, overage_amount=1)
    return pb.ConsumeResponse(decision=allowed(), receipt=receipt, **fields)


def entitlements(plan: str) -> types_pb2.CustomerEntitlements:
    window = types_pb2.Window(
        kind=types_pb2.WINDOW_KIND_CALENDAR,
        period=types_pb2.WINDOW_PERIOD_MONTH,
        time_zone="Europe/Paris",
    )
    limit = types_pb2.Limit(id="monthly", kind=types_pb2.LIMIT_KIND_HARD, limit=1000, window=window)
    usage = types_pb2.LimitUsage(
        limit=limit,
        used=400,
        remaining=600,
        window_start_unix_ms=1_767_225_600_000,
        window_end_unix_ms=1_769_904_000_000,
    )
    metered = types_pb2.FeatureEntitlement(
        feature="api.calls",
        type=types_pb2.FEATURE_TYPE_METERED,
        unit="call",
        enabled=True,
        limits=[usage],
    )
    number = types_pb2.FeatureEntitlement(
        feature="file.size", type=types_pb2.FEATURE_TYPE_NUMBER, unit="MB", enabled=True, number=25
    )
    return types_pb2.CustomerEntitlements(
        customer="acme",
        catalog="main",
        catalog_version=2,
        plan=plan,
        plan_version=1,
        snapshot_version=9,
        snapshot_age_ms=1500,
        features=[metered, number],
    )
