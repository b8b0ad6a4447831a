"""How many calls need the control plane under a steady load of many customers, few of them big."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import grpc

from bench.administration import Administration
from bench.failure import BenchError
from bench.leases.deciding import CATALOG, LEASED, PLAN
from bench.metrics import CALLS_METRIC, REQUESTS_METRIC, WAITED_METRIC, sample_of
from bench.processes import Installation, running
from bench.transport.fresh_keys import own_channel
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

EXPONENT: Final = 1.1
"""Of Zipf's law: the customer of rank k has calls in proportion to k ** -EXPONENT."""

IN_FLIGHT: Final = 32
_CONNECTIONS: Final = 2
_CALL_S_MAX: Final = 10.0
_READY_S_MAX: Final = 60.0
_POLL_S: Final = 0.1


class Steady(NamedTuple):
    """What became of the calls of a while."""

    customers: int
    calls: int
    seconds: float
    waited: int
    requests: int

    @property
    def waited_share(self) -> float:
        """The share of calls that waited for the control plane."""
        return self.waited / self.calls


class Load(NamedTuple):
    """How many customers, and how long the load lasts before and while it is measured."""

    customers: int
    warm_up_s: float
    seconds: float


async def measure_steady(directory: Path, load: Load) -> Steady:
    """Measure with a control plane and a sidecar. Raises BenchError where a call is refused."""
    installation = Installation(directory)
    with running(installation):
        async with Administration(installation) as administration, AsyncExitStack() as stack:
            names = [f"customer-{number:05}" for number in range(load.customers)]
            await administration.apply_catalog(CATALOG.read_text(encoding="utf-8"), CATALOG.name)
            await administration.create_customers(names, PLAN)
            stubs = [
                SidecarServiceStub(
                    await stack.enter_async_context(own_channel(installation.sidecar_address))
                )
                for _ in range(_CONNECTIONS)
            ]
            await _until_known(stubs[0], names[-1])
            return await _load(installation, stubs, names, load)


async def _load(
    installation: Installation, stubs: Sequence[Any], names: Sequence[str], load: Load
) -> Steady:
    port = installation.sidecar_probe_port
    weights = list(accumulate((rank + 1) ** -EXPONENT for rank in range(len(names))))
    random = Random(11)
    is_over = asyncio.Event()

    async def send(stub: Any) -> None:
        while not is_over.is_set():
            (customer,) = random.choices(names, cum_weights=weights)
            request = pb.ConsumeRequest(customer=customer, feature=LEASED, amount=1)
            answer = await stub.Consume(request, timeout=_CALL_S_MAX)
            if not answer.decision.allowed:
                raise BenchError(f"{customer} was refused: {answer.decision}")

    async with asyncio.TaskGroup() as group:
        for number in range(IN_FLIGHT):
            group.create_task(send(stubs[number % len(stubs)]))
        await asyncio.sleep(load.warm_up_s)
        before, started_s = await _figures(port), time.perf_counter()
        await asyncio.sleep(load.seconds)
        after, took_s = await _figures(port), time.perf_counter() - started_s
        is_over.set()
    calls, waited, requests = (int(b - a) for a, b in zip(before, after, strict=True))
    return Steady(len(names), calls, took_s, waited, requests)


async def _figures(port: int) -> tuple[float, float, float]:
    def read() -> tuple[float, float, float]:
        consumed = sample_of(port, CALLS_METRIC, {"method": "Consume"})
        return consumed, sample_of(port, WAITED_METRIC), sample_of(port, REQUESTS_METRIC)

    return await asyncio.to_thread(read)


async def _until_known(stub: Any, customer: str) -> None:
    """Wait until the sidecar knows the customer that was made last."""
    request = pb.CheckRequest(customer=customer, feature=LEASED, amount=1)
    deadline_s = time.monotonic() + _READY_S_MAX
    while True:
        try:
            answer = await stub.Check(request, timeout=_CALL_S_MAX, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise BenchError(f"Check: {error.code()}, {error.details()}") from error
        if answer.decision.allowed:
            return
        if time.monotonic() > deadline_s:
            raise BenchError(f"the sidecar does not know {customer}: {answer.decision}")
        await asyncio.sleep(_POLL_S)
