"""One pool of a million units and eight sidecars: the last one in a hundred, to the last unit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc

from bench.administration import Administration
from bench.failure import BenchError
from bench.leases.deciding import CATALOG, CUSTOMER, PLAN
from bench.metrics import (
    GRANTS_METRIC,
    RECALLS_METRIC,
    REFUSALS_METRIC,
    REQUESTS_METRIC,
    sample_of,
)
from bench.processes import Installation, Sidecar, running, wait_ready
from bench.transport.fresh_keys import own_channel
from bench.transport.measuring import require_equal
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

DRAINED: Final = "drained"
UNITS: Final = 1_000_000
LAST: Final = UNITS // 100
END: Final = 100
"""The very last units, timed by themselves: they are taken back from one for another."""

SIDECARS: Final = 8
_CALLERS_PER_SIDECAR: Final = 2
_UNITS_PER_CALL: Final = 500
_REFUSED_PAUSE_S: Final = 0.005
_CALL_S_MAX: Final = 20.0
_DRAINED_S_MAX: Final = 90.0


class Messages(NamedTuple):
    """What was said of leases."""

    requests: int
    grants: int
    recalls: int
    refusals: int


class Drained(NamedTuple):
    """The time of the last units, until the last of them was admitted, and the messages."""

    seconds: float
    end_s: float
    messages: Messages
    calls_refused: int
    calls_gave_up: int


async def measure_draining(directory: Path) -> Drained:
    """Drain a pool. Raises BenchError where one unit more or less than there is was admitted."""
    installation = Installation(directory)
    first = Sidecar(
        installation.sidecar, installation.sidecar_address, installation.sidecar_probe_port
    )
    sidecars = [first]
    with running(installation), ExitStack() as processes:
        async with Administration(installation) as administration:
            await administration.apply_catalog(CATALOG.read_text(encoding="utf-8"), CATALOG.name)
            await administration.create_customers([CUSTOMER], PLAN)
            for number in range(1, SIDECARS):
                sidecars.append(installation.new_sidecar(f"sidecar-{number}"))
                processes.callback(sidecars[-1].process.stop)
                sidecars[-1].process.start()
            for sidecar in sidecars:
                await asyncio.to_thread(wait_ready, sidecar.process, sidecar.probe_port)
            ports = [sidecar.probe_port for sidecar in sidecars]
            async with AsyncExitStack() as stack:
                stubs = [
                    SidecarServiceStub(await stack.enter_async_context(own_channel(each.address)))
                    for each in sidecars
                ]
                drain = _Drain(stubs, installation.control_plane_probe_port, ports)
                drained = await drain.run()
            totals = await administration.settled(drain.calls_admitted)
            require_equal("units settled", UNITS, totals[CUSTOMER, DRAINED].amount)
    return drained


class _Drain:
    """Callers of all sidecars, and what they were told."""

    def __init__(self, stubs: Sequence[Any], control_plane: int, sidecars: Sequence[int]) -> None:
        self._stubs = stubs
        self._control_plane = control_plane
        self._sidecars = sidecars
        self._claimed = 0
        self._admitted = 0
        self._refused = 0
        self._gave_up = 0
        self._end_began_s = 0.0
        self._last_s = 0.0
        self.calls_admitted = 0

    async def run(self) -> Drained:
        """Spend all but the last units in large calls, then those one by one."""
        await self._all(self._spend_most)
        require_equal("units admitted", UNITS - LAST, self._admitted)
        before = await asyncio.to_thread(self._messages)
        started_s = time.perf_counter()
        await self._all(self._spend_last)
        require_equal("units admitted", UNITS, self._admitted)
        after = await asyncio.to_thread(self._messages)
        # Every sidecar has to know it.
        for stub in self._stubs:
            if await self._consume(stub, 1):
                raise BenchError("a unit was admitted that does not exist")
        return Drained(
            self._last_s - started_s,
            self._last_s - self._end_began_s,
            Messages(*(b - a for a, b in zip(before, after, strict=True))),
            self._refused,
            self._gave_up,
        )

    async def _all(self, spend: Any) -> None:
        async with asyncio.timeout(_DRAINED_S_MAX), asyncio.TaskGroup() as group:
            for stub in self._stubs:
                for _ in range(_CALLERS_PER_SIDECAR):
                    group.create_task(spend(stub))

    async def _spend_most(self, stub: Any) -> None:
        while self._claimed < UNITS - LAST:
            self._claimed += _UNITS_PER_CALL
            await self._until_admitted(stub, _UNITS_PER_CALL)

    async def _until_admitted(self, stub: Any, units: int) -> None:
        while True:
            if await self._consume(stub, units):
                return
            await asyncio.sleep(_REFUSED_PAUSE_S)

    async def _spend_last(self, stub: Any) -> None:
        while self._admitted < UNITS:
            if await self._consume(stub, 1):
                if self._admitted == UNITS - END:
                    self._end_began_s = time.perf_counter()
                self._last_s = time.perf_counter()
            elif self._admitted < UNITS:
                # The units are on their way to others, who asked before.
                self._refused += 1
                await asyncio.sleep(_REFUSED_PAUSE_S)

    async def _consume(self, stub: Any, units: int) -> bool:
        request = pb.ConsumeRequest(customer=CUSTOMER, feature=DRAINED, amount=units)
        try:
            answer = await stub.Consume(request, timeout=_CALL_S_MAX, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise BenchError(f"Consume: {error.code()}, {error.details()}") from error
            # It waited for units as long as a sidecar lets a call wait. Nothing was charged.
            self._gave_up += 1
            return False
        if answer.decision.allowed:
            self._admitted += units
            self.calls_admitted += 1
        return bool(answer.decision.allowed)

    def _messages(self) -> Messages:
        control_plane = self._control_plane
        return Messages(
            int(sum(sample_of(port, REQUESTS_METRIC) for port in self._sidecars)),
            *(
                int(sample_of(control_plane, name))
                for name in (GRANTS_METRIC, RECALLS_METRIC, REFUSALS_METRIC)
            ),
        )
