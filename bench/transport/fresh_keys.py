"""A load with a fresh idempotency key per call, which h2load cannot send: a grpc.aio client.

The client takes more of its core than the server takes of the other one, so what counts here is
the server's CPU time per call, not the calls per second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc

from bench.transport.h2load import Load, Measured, Target, quantile
from weighbridge.v1 import sidecar_service_pb2 as pb


def keyed_messages(request: pb.ConsumeRequest, run: str, count: int) -> list[bytes]:
    """Return the request so many times, each with a key of its own."""
    messages = []
    for number in range(count):
        keyed = pb.ConsumeRequest()
        keyed.CopyFrom(request)
        keyed.idempotency_key = f"{run}:{number:08d}"
        messages.append(keyed.SerializeToString())
    return messages


async def run(target: Target, load: Load, messages: Sequence[bytes]) -> Measured:
    """Send each message once; Target.message is not used."""
    path = f"/{target.service}/{target.method}"
    left = iter(messages)
    latencies_ms: list[float] = []
    answers: list[bytes] = []

    async def send(channel: grpc.aio.Channel, left: Iterator[bytes]) -> None:
        call: Any = channel.unary_unary(path)
        for message in left:
            sent_s = time.perf_counter()
            answers.append(await call(message))
            latencies_ms.append((time.perf_counter() - sent_s) * 1000)

    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(own_channel(target.address))
            for _ in range(load.connections)
        ]
        started_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for channel in channels * load.streams:
                group.create_task(send(channel, left))
        took_s = time.perf_counter() - started_s
    latencies_ms.sort()
    return Measured(
        len(messages) / took_s,
        sum(latencies_ms) / len(latencies_ms),
        quantile(latencies_ms, 0.99),
        sum(len(answer) for answer in answers),
    )


def own_channel(address: str) -> grpc.aio.Channel:
    """Return a channel with a connection of its own."""
    # A pool of its own, or all channels to one address would share a connection.
    return grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
