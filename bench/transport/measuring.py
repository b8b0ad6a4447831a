"""The rounds: echo and sidecar in turn under the same load, and proof that all was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.failure import BenchError
from bench.processes import probe
from bench.transport import fresh_keys, h2load
from bench.transport.h2load import Load, Measured, Target, framed_bytes
from weighbridge.v1 import sidecar_service_pb2 as pb

CALLS_METRIC: Final = "weighbridge_sidecar_calls_total"
DECISIONS_METRIC: Final = "weighbridge_sidecar_decisions_total"


class Server(NamedTuple):
    """A process under load."""

    pid: int
    metrics_port: int | None
    """None: an echo, which has none."""


class Subject(NamedTuple):
    """What is compared: a method of the sidecar and the echo that answers as many bytes."""

    name: str
    sidecar: Target
    echo: Target
    response_bytes: int
    keyed: pb.ConsumeRequest | None = None
    """Where given, each call is this request with a key of its own."""


class Plan(NamedTuple):
    """How often and how much."""

    rounds: int
    together: Load
    single: Load
    keyed: Load
    core: int
    """Where the load comes from."""
    directory: Path


class Sample(NamedTuple):
    """One round of one server."""

    calls_per_s: float
    cpu_us: float
    mean_ms: float
    p99_ms: float


class Round(NamedTuple):
    """Both servers in one round."""

    echo: Sample
    sidecar: Sample


class Bench:
    """Both servers, and how many calls of each method the sidecar was sent."""

    def __init__(self, echo: Server, sidecar: Server, plan: Plan) -> None:
        self._echo = echo
        self._sidecar = sidecar
        self._plan = plan
        self._runs = 0
        self.consumed = 0

    async def warm_up(self, subjects: list[Subject]) -> None:
        """One round that counts for nothing."""
        for subject in subjects:
            await self._round(subject, 0)

    async def measure(
        self, subjects: list[Subject], tell: Callable[[str], None]
    ) -> dict[str, list[Round]]:
        """Run all rounds, subject by subject within each."""
        rounds: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
        for number in range(self._plan.rounds):
            for subject in subjects:
                tell(f"round {number + 1} of {self._plan.rounds}: {subject.name}")
                rounds[subject.name].append(await self._round(subject, number))
        return rounds

    async def _round(self, subject: Subject, number: int) -> Round:
        # Who goes first alternates, so that neither always finds the machine as the other left it.
        if number % 2:
            sidecar = await self._sample(subject, subject.sidecar, self._sidecar)
            return Round(await self._sample(subject, subject.echo, self._echo), sidecar)
        echo = await self._sample(subject, subject.echo, self._echo)
        return Round(echo, await self._sample(subject, subject.sidecar, self._sidecar))

    async def _sample(self, subject: Subject, target: Target, server: Server) -> Sample:
        plan = self._plan
        if subject.keyed is not None:
            together, took_cpu_s = await self._timed(subject, target, server, plan.keyed)
            single = together
            calls = plan.keyed.calls
        else:
            together, took_cpu_s = await self._timed(subject, target, server, plan.together)
            single, _ = await self._timed(subject, target, server, plan.single)
            calls = plan.together.calls
        return Sample(together.calls_per_s, took_cpu_s / calls * 1e6, single.mean_ms, single.p99_ms)

    async def _timed(
        self, subject: Subject, target: Target, server: Server, load: Load
    ) -> tuple[Measured, float]:
        """Run a load; return what it measured and the CPU seconds it took of the server."""
        port = server.metrics_port
        before = (0, 0) if port is None else counted(port, target.method)
        began_cpu_s = cpu_s(server.pid)
        measured = await self._load(subject, target, load)
        took_cpu_s = cpu_s(server.pid) - began_cpu_s
        if port is None:
            answer_bytes = subject.response_bytes
            expected = load.calls * (answer_bytes if subject.keyed else framed_bytes(answer_bytes))
            require_equal("bytes that the echo answered", expected, measured.data_bytes)
        else:
            answered, allowed = counted(port, target.method)
            require_equal(f"{target.method} answered OK", load.calls, answered - before[0])
            require_equal("decisions that allowed", load.calls, allowed - before[1])
            self.consumed += load.calls if target.method == "Consume" else 0
        return measured, took_cpu_s

    async def _load(self, subject: Subject, target: Target, load: Load) -> Measured:
        self._runs += 1
        if subject.keyed is not None:
            messages = fresh_keys.keyed_messages(subject.keyed, f"run-{self._runs:06d}", load.calls)
            return await fresh_keys.run(target, load, messages)
        run: Awaitable[Measured] = asyncio.to_thread(
            h2load.run, target, load, self._plan.core, self._plan.directory
        )
        return await run


def counted(metrics_port: int, method: str) -> tuple[int, int]:
    """Return how many calls of a method a sidecar answered OK, and all decisions that allowed."""
    status, text = probe(metrics_port, "/metrics")
    if not status:
        raise BenchError("the sidecar's metrics cannot be read")
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    answered = sum(
        sample.value
        for sample in samples
        if sample.name == CALLS_METRIC and sample.labels == {"method": method, "status": "OK"}
    )
    allowed = sum(
        sample.value
        for sample in samples
        if sample.name == DECISIONS_METRIC and sample.labels["reason"] == "allowed"
    )
    return int(answered), int(allowed)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has taken."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def require_equal(what: str, expected: int, found: int) -> None:
    """Raise BenchError where something is not what it should be."""
    if found != expected:
        raise BenchError(f"{what}: {found:,} instead of {expected:,}")
