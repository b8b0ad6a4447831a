"""The reference transport: the hot methods on grpc.aio, gathered into batches.

Calls that arrive in one turn of the event loop are one batch, so that one journal write serves all.
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
            answer = await self._answer(method, payload, context.time_remaining())
            latencies.observe(perf_counter() - started_s)
            if isinstance(answer, Status):
                await context.abort(answer.code, answer.detail)
            return answer

        return handle

    async def _answer(
        self, method: Method, payload: bytes, remaining_s: float | None
    ) -> bytes | Status:
        if len(self._gathered) >= self._calls_max:
            detail = f"{self._calls_max} calls are queued; nothing was recorded"
            return Status(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)
        deadline_ms = None if remaining_s is None else clock.boot_ms() + int(remaining_s * 1000)
        future: asyncio.Future[bytes | Status] = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append((Call(method, payload, deadline_ms), future))
        return await future

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
