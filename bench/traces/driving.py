"""Sends usage to a sidecar, many calls at a time, and repeats what a crash left unanswered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

import grpc

from bench.failure import BenchError
from bench.traces.reading import Method, Usage
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

_CALL_S_MAX: Final = 10.0
_RETRY_S_MAX: Final = 120.0
_BACKOFF_S_MIN: Final = 0.02
_BACKOFF_S_MAX: Final = 0.5
_CONNECTIONS: Final = 2
_CHECKS_MAX: Final = 1_000
_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)
# Nothing is known of such a call: it may have been recorded, so it is repeated with its key.
_UNANSWERED: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class Interruption(NamedTuple):
    """What is done once so many calls are answered, while the others go on."""

    after_calls: int
    act: Callable[[], Awaitable[None]]


@dataclass
class Progress:
    """What became of the calls so far."""

    answered: int = 0
    retries: int = 0
    replayed: int = 0
    milestones: dict[int, asyncio.Event] = field(default_factory=dict)

    def count(self, *, replayed: bool) -> None:
        """Count an answer, and tell who waits for so many."""
        self.answered += 1
        self.replayed += replayed
        milestone = self.milestones.get(self.answered)
        if milestone is not None:
            milestone.set()

    async def reached(self, answered: int) -> None:
        """Wait until so many calls are answered. To be called before they are."""
        await self.milestones.setdefault(answered, asyncio.Event()).wait()


class Driver:
    """Sends usage to one sidecar; an async context."""

    def __init__(self, address: str, in_flight: int) -> None:
        self._address = address
        self._in_flight = in_flight
        self._random = random.Random(in_flight)
        self._stubs: list[Any] = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for _ in range(_CONNECTIONS):
                channel = grpc.aio.insecure_channel(self._address, options=_OPTIONS)
                await stack.enter_async_context(channel)
                self._stubs.append(SidecarServiceStub(channel))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def wait_known(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Wait until the sidecar allows each customer the feature. Raises BenchError if not."""
        left = list(pairs)
        deadline_s = time.monotonic() + _RETRY_S_MAX
        while left:
            asked = left[:_CHECKS_MAX]
            checks = [pb.CheckRequest(customer=one, feature=feature) for one, feature in asked]
            answer = await self._stubs[0].BatchCheck(
                pb.BatchCheckRequest(checks=checks), timeout=_CALL_S_MAX, wait_for_ready=True
            )
            refused = [
                pair
                for pair, decision in zip(asked, answer.decisions, strict=True)
                if not decision.allowed
            ]
            left = refused + left[len(asked) :]
            if refused and time.monotonic() > deadline_s:
                raise BenchError(f"the sidecar does not know {len(refused)} customers: {refused}")
            if refused:
                await asyncio.sleep(_BACKOFF_S_MIN)

    async def drive(
        self, usage: Iterable[Usage], interruptions: Sequence[Interruption] = ()
    ) -> Progress:
        """Send everything, with interruptions on the way. Raises BenchError for a refusal."""
        progress = Progress()
        left = iter(usage)
        try:
            async with asyncio.TaskGroup() as group:
                for interruption in interruptions:
                    group.create_task(_interrupt(interruption, progress))
                for number in range(self._in_flight):
                    stub = self._stubs[number % len(self._stubs)]
                    group.create_task(self._send(stub, left, progress))
        except* BenchError as errors:
            raise errors.exceptions[0] from None
        return progress

    async def _send(self, stub: Any, left: Iterator[Usage], progress: Progress) -> None:
        for usage in left:
            answer = await self._answered(stub, usage, progress)
            if usage.method is Method.CONSUME and not answer.decision.allowed:
                raise BenchError(f"{usage} was refused: {answer.decision}")
            if answer.receipt.amount != usage.amount:
                raise BenchError(f"{usage} was recorded as {answer.receipt}")
            progress.count(replayed=answer.replayed)

    async def _answered(self, stub: Any, usage: Usage, progress: Progress) -> Any:
        deadline_s = time.monotonic() + _RETRY_S_MAX
        backoff_s = _BACKOFF_S_MIN
        call, request = _call_of(stub, usage)
        while True:
            try:
                return await call(request, timeout=_CALL_S_MAX)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _UNANSWERED or time.monotonic() > deadline_s:
                    raise BenchError(f"{usage}: {error.code()}, {error.details()}") from error
            progress.retries += 1
            await asyncio.sleep(self._random.uniform(backoff_s / 2, backoff_s))
            backoff_s = min(backoff_s * 2, _BACKOFF_S_MAX)


def _call_of(stub: Any, usage: Usage) -> tuple[Any, Any]:
    is_consume = usage.method is Method.CONSUME
    make = pb.ConsumeRequest if is_consume else pb.ReportRequest
    request = make(
        customer=usage.customer,
        feature=usage.feature,
        amount=usage.amount,
        idempotency_key=usage.key,
        dimensions=usage.dimensions,
    )
    return (stub.Consume if is_consume else stub.Report), request


async def _interrupt(interruption: Interruption, progress: Progress) -> None:
    await progress.reached(interruption.after_calls)
    await interruption.act()
