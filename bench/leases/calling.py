"""Check and Consume of leased limits through a real sidecar and its reference transport."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final, NamedTuple

from bench.administration import Administration
from bench.failure import BenchError
from bench.leases.deciding import CATALOG, COUNTED, CUSTOMER, LEASED, PLAN
from bench.metrics import UNSETTLED_METRIC, sample_of
from bench.processes import Installation, running
from bench.transport import h2load
from bench.transport.fresh_keys import own_channel
from bench.transport.h2load import Load, Target
from bench.transport.measuring import counted, cpu_s, require_equal
from bench.transport.single_calls import SERVICE
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

_READY_S_MAX: Final = 30.0
_CALL_S_MAX: Final = 10.0
_POLL_S: Final = 0.1
_DRAINED_S_MAX: Final = 60.0


class Side(NamedTuple):
    """One method in one round."""

    calls_per_s: float
    cpu_us: float


class Calls(NamedTuple):
    """All of one round."""

    check: Side
    consume_counted: Side
    consume_leased: Side


class Cores(NamedTuple):
    """Where the sidecar runs, and where everything else does."""

    server: int
    load: int


async def measure_calling(directory: Path, cores: Cores, rounds: int, load: Load) -> list[Calls]:
    """Run all rounds. Raises BenchError where one call was not admitted, or not settled."""
    installation = Installation(directory, sidecar_core=cores.server)
    with running(installation):
        async with Administration(installation) as administration:
            await administration.apply_catalog(CATALOG.read_text(encoding="utf-8"), CATALOG.name)
            await administration.create_customers([CUSTOMER], PLAN)
            await _lease(installation.sidecar_address)
            calling = _Calling(installation, cores.load, load)
            await calling.run()
            measured = [await calling.run(is_reversed=bool(n % 2)) for n in range(rounds)]
            # One call made the lease, and before the rounds was one that warmed up.
            expected = {LEASED: load.calls * (rounds + 1) + 1, COUNTED: load.calls * (rounds + 1)}
            totals = await administration.settled(sum(expected.values()))
            for feature, calls in expected.items():
                require_equal(f"{feature} settled", calls, totals[CUSTOMER, feature].amount)
    return measured


async def _lease(address: str) -> None:
    """Consume once, as soon as the sidecar knows the customer: from then on a lease is held."""
    request = pb.ConsumeRequest(customer=CUSTOMER, feature=LEASED, amount=1)
    deadline_s = time.monotonic() + _READY_S_MAX
    async with own_channel(address) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/Consume",
            request_serializer=pb.ConsumeRequest.SerializeToString,
            response_deserializer=pb.ConsumeResponse.FromString,
        )
        while True:
            answer: pb.ConsumeResponse = await call(
                request, timeout=_CALL_S_MAX, wait_for_ready=True
            )
            decision = answer.decision
            if decision.allowed and decision.decided_by == types_pb2.DECIDED_BY_LEASE:
                return
            if decision.allowed or time.monotonic() > deadline_s:
                raise BenchError(f"Consume was not admitted by a lease: {answer}")
            await asyncio.sleep(_POLL_S)


class _Calling:
    """The load on one sidecar."""

    def __init__(self, installation: Installation, load_core: int, load: Load) -> None:
        self._installation = installation
        self._load_core = load_core
        self._load = load
        check = pb.CheckRequest(customer=CUSTOMER, feature=LEASED, amount=1)
        self._targets = [self._target("Check", check.SerializeToString())]
        for feature in (COUNTED, LEASED):
            consume = pb.ConsumeRequest(customer=CUSTOMER, feature=feature, amount=1)
            self._targets.append(self._target("Consume", consume.SerializeToString()))

    async def run(self, *, is_reversed: bool = False) -> Calls:
        """Run one round. Who goes first alternates, as what one leaves behind is on the next."""
        order = list(enumerate(self._targets))
        sides: dict[int, Side] = {}
        for place, target in reversed(order) if is_reversed else order:
            sides[place] = await self._side(target)
        return Calls(*(sides[place] for place, _ in order))

    async def _drained(self) -> None:
        """Wait until all usage is settled: its acknowledgements are the cost of who made it."""
        port = self._installation.sidecar_probe_port
        deadline_s = time.monotonic() + _DRAINED_S_MAX
        while sample_of(port, UNSETTLED_METRIC):
            if time.monotonic() > deadline_s:
                raise BenchError("usage is not settled")
            await asyncio.sleep(_POLL_S)

    def _target(self, method: str, message: bytes) -> Target:
        return Target(self._installation.sidecar_address, SERVICE, method, message)

    async def _side(self, target: Target) -> Side:
        port, pid = self._installation.sidecar_probe_port, self._installation.sidecar.pid
        await self._drained()
        before = counted(port, target.method)
        began_cpu_s = cpu_s(pid)
        measured = await asyncio.to_thread(
            h2load.run, target, self._load, self._load_core, self._installation.directory
        )
        took_cpu_s = cpu_s(pid) - began_cpu_s
        answered, allowed = counted(port, target.method)
        calls = self._load.calls
        require_equal(f"{target.method} answered OK", calls, answered - before[0])
        require_equal("decisions that allowed", calls, allowed - before[1])
        return Side(measured.calls_per_s, took_cpu_s / calls * 1e6)
