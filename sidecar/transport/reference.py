"""The reference transport: the hot methods on grpc.aio, gathered into batches.

grpc.aio hands over about one call per turn of the event loop, so calls that are there together
still come one by one. While more than one comes at a time, a batch waits until the loop has turned
a few times without another call: one journal write then serves all of them, and their answers
leave together, which saves more than deciding them costs. A call that is alone waits for nobody;
now and then one looks whether it still is.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import grpc

from sidecar.transport.seam import Answer, Call, Method, Pending, Seam, Status
from sidecar.transport.waiting import WaitingCalls
from weighbridge.runtime import clock

SERVICE: Final = "weighbridge.v1.SidecarService"
LATENCY_BOUNDS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)

QUIET_TURNS: Final = 6
"""Turns of the event loop without another call after which a batch is decided."""
BATCH_CALLS_MAX: Final = 64
LONE_CALLS: Final = 32
"""How many calls are decided at once before one waits to see whether others come with it."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class Latencies:
    """A histogram of plain integers, read by the metrics."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one call."""
        self.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class ReferenceTransport:
    """Hands the calls of one event-loop turn to the seam together."""

    def __init__(self, seam: Seam, waiting: WaitingCalls, calls_max: int) -> None:
        self._seam = seam
        self._waiting = waiting
        self._calls_max = calls_max
        self._gathered: list[tuple[Call, asyncio.Future[bytes | Status]]] = []
        self._gathered_before = 0
        self._quiet_turns = 0
        self._lone_calls_left = LONE_CALLS
        self._loop = asyncio.get_running_loop()
        self.latencies = {method: Latencies() for method in Method}

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the method handlers, bytes in and bytes out."""
        return {
            method.value: grpc.unary_unary_rpc_method_handler(self._handler(method))
            for method in Method
        }

    def _handler(self, method: Method) -> Callable[[bytes, Context], Awaitable[bytes]]:
        latencies = self.latencies[method]

        async def handle(payload: bytes, context: Context) -> bytes:
            started_s = perf_counter()
            answer = await self.ask(method, payload, context.time_remaining())
            latencies.observe(perf_counter() - started_s)
            if isinstance(answer, Status):
                await context.abort(answer.code, answer.detail)
            return answer

        return handle

    async def ask(
        self, method: Method, payload: bytes, remaining_s: float | None
    ) -> bytes | Status:
        """Have a call answered, with those that come at the same time."""
        if len(self._gathered) >= self._calls_max:
            detail = f"{self._calls_max} calls are queued; nothing was recorded"
            return Status(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)
        deadline_ms = None if remaining_s is None else clock.boot_ms() + int(remaining_s * 1000)
        future: asyncio.Future[bytes | Status] = self._loop.create_future()
        self._gathered.append((Call(method, payload, deadline_ms), future))
        if self._lone_calls_left:
            self._lone_calls_left -= 1
            self._flush()
        elif len(self._gathered) == 1:
            self._gathered_before = 1
            self._quiet_turns = 0
            self._loop.call_soon(self._wait_for_more)
        return await future

    def _wait_for_more(self) -> None:
        count = len(self._gathered)
        self._quiet_turns = 0 if count > self._gathered_before else self._quiet_turns + 1
        self._gathered_before = count
        if self._quiet_turns < QUIET_TURNS and count < BATCH_CALLS_MAX:
            self._loop.call_soon(self._wait_for_more)
            return
        self._lone_calls_left = LONE_CALLS if count == 1 else 0
        self._flush()

    def _flush(self) -> None:
        gathered = [item for item in self._gathered if not item[1].cancelled()]
        self._gathered = []
        if not gathered:
            return
        try:
            answers = self._seam.answer([call for call, _ in gathered])
        except Exception as error:  # noqa: BLE001 (handed to every caller, and raised by each)
            for _, future in gathered:
                future.set_exception(error)
            return
        for (_, future), answer in zip(gathered, answers, strict=True):
            self._give(future, answer)

    def _give(self, future: asyncio.Future[bytes | Status], answer: Answer) -> None:
        if not isinstance(answer, Pending):
            future.set_result(answer)
            return
        pending = answer
        pending.on_done(lambda late: None if future.done() else future.set_result(late))
        future.add_done_callback(
            lambda done: self._waiting.cancel(pending) if done.cancelled() else None
        )
