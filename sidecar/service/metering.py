"""Meter: work whose cost is known only as it runs, over a hold that grows ahead of use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc

from sidecar.core.decided import Decided
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.service.metered_work import MeteredWork, metered_from_proto
from sidecar.transport.seam import Call, Method, Pending, Seam, Status
from sidecar.wire.decision import fill_decision
from weighbridge.rules.decision import Reason
from weighbridge.rules.errors import (
    AlreadyExistsError,
    ResourceExhaustedError,
    WeighbridgeError,
)
from weighbridge.runtime.status import status_of
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

METERS_MAX: Final = 1_000
HOLD_TTL_MS: Final = 300_000
_RENEWED_MS: Final = HOLD_TTL_MS // 2
# More units cannot be had now; what is held can be used still.
_FOR_NOW: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})

Ask = Callable[[Method, bytes, float | None], Awaitable[bytes | Status]]
Context = grpc.aio.ServicerContext[Any, Any]


class _FailedError(Exception):
    """A call on the hold was answered with an error."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.detail)
        self.status = status


class MeterService:
    """The open meters. Everything runs on the thread that owns the gate.

    `ask` answers a call on a hold together with others; what was used is settled by the seam at
    once, since nothing can be awaited when a stream breaks.
    """

    def __init__(self, gate: Gate, seam: Seam, ask: Ask, moment: Callable[[], Moment]) -> None:
        self._gate = gate
        self._seam = seam
        self._ask_for = ask
        self._moment = moment
        self._open: dict[tuple[str, str], MeteredWork] = {}
        # Of streams that ended: what could not be journaled yet.
        self._owed: dict[tuple[str, str], MeteredWork] = {}

    def __len__(self) -> int:
        return len(self._open)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the method handler."""
        return {
            "Meter": grpc.stream_stream_rpc_method_handler(
                self.meter,
                sidecar_pb.MeterRequest.FromString,
                sidecar_pb.MeterResponse.SerializeToString,
            )
        }

    async def meter(
        self, requests: AsyncIterator[sidecar_pb.MeterRequest], context: Context
    ) -> None:
        """Serve one stream; however it ends, what was used is settled."""
        # No generator: a broken stream would leave it suspended, for the collector to end.
        metered: MeteredWork | None = None
        try:
            metered = metered_from_proto(await anext(requests, None))
            decision = await self._reserve(metered)
            if not decision.allowed:
                await context.write(metered.stopped(decision))
                return
            await context.write(self._answer(metered, decision))
            async for request in requests:
                metered.advance(request)
                # Records of the hold carry it, for the case that nobody is left to settle it.
                self._gate.reservations.tell(*metered.key, metered.used)
                why = await self._stops(metered)
                await context.write(self._answer(metered, None, why))
            await context.write(self._settled(metered))
        except WeighbridgeError as error:
            await context.abort(status_of(error), str(error))
        except _FailedError as failed:
            await context.abort(failed.status.code, failed.status.detail)
        finally:
            if metered is not None:
                self._end(metered)

    def tick(self) -> None:
        """Keep the holds of open meters from expiring, and settle what could not be settled."""
        for metered in tuple(self._owed.values()):
            self._end(metered)
        renewed_until_ms = self._moment().now_ms + _RENEWED_MS
        for metered in self._open.values():
            hold = self._gate.reservations.find(*metered.key)
            if hold is not None and not hold.has_expired and hold.expires_at_ms < renewed_until_ms:
                # Where it is refused, the work is told at its next message.
                self._call(Method.EXTEND, metered.extend(None, HOLD_TTL_MS))

    def settle_all(self) -> None:
        """Settle what all meters used so far: this sidecar stops."""
        for metered in (*self._open.values(), *self._owed.values()):
            self._end(metered)

    async def _reserve(self, metered: MeteredWork) -> pb.Decision:
        if metered.key in self._open or metered.key in self._owed:
            raise AlreadyExistsError(f"reservation: {metered.key[1]!r} has a stream already")
        if len(self._open) >= METERS_MAX:
            raise ResourceExhaustedError(f"{METERS_MAX} meters are open")
        request = metered.reserve(HOLD_TTL_MS)
        response = sidecar_pb.ReserveResponse.FromString(await self._ask(Method.RESERVE, request))
        if response.decision.allowed:
            hold = self._gate.reservations.find(*metered.key)
            if hold is None or hold.has_expired:
                raise AlreadyExistsError(f"reservation: {metered.key[1]!r} ended; take a new id")
            metered.held = hold.amount
            self._open[metered.key] = metered
        return response.decision

    async def _ask(self, method: Method, payload: bytes) -> bytes:
        answer = await self._ask_for(method, payload, None)
        if isinstance(answer, Status):
            raise _FailedError(answer)
        return answer

    async def _stops(self, metered: MeteredWork) -> pb.Decision | None:
        """Hold enough ahead of use; where that cannot be, return why."""
        standing = self._decide(metered, 1)
        if standing is not None and _is_withdrawn(standing):
            decision = pb.Decision()
            fill_decision(decision, standing)
            return decision
        if metered.ahead >= metered.chunk:
            return None
        why = pb.Decision(feature=metered.feature, reason=pb.REASON_OUTAGE_POLICY)
        for chunks in (2, 1):
            request = metered.extend(metered.used + chunks * metered.chunk, HOLD_TTL_MS)
            try:
                answer = await self._ask(Method.EXTEND, request)
            except _FailedError as failed:
                if failed.status.code not in _FOR_NOW:
                    raise
                return None if metered.ahead > 0 else why
            response = sidecar_pb.ExtendResponse.FromString(answer)
            if response.decision.allowed:
                metered.held = response.reservation.amount
                return None
            why = response.decision
        return why

    def _answer(
        self, metered: MeteredWork, first: pb.Decision | None, why: pb.Decision | None = None
    ) -> sidecar_pb.MeterResponse:
        decided = self._decide(metered, 0)
        state = None if decided is None else decided.verdict.state
        if why is not None:
            return metered.stopped(why, state)
        return metered.continued(first, state)

    def _settled(self, metered: MeteredWork) -> sidecar_pb.MeterResponse:
        answer = self._settle(metered)
        if isinstance(answer, Status):
            raise _FailedError(answer)
        del self._open[metered.key]
        return metered.settled(sidecar_pb.SettleResponse.FromString(answer))

    def _end(self, metered: MeteredWork) -> None:
        """Settle what a stream that broke has used, unless it is settled."""
        key = metered.key
        if metered not in (self._open.get(key), self._owed.get(key)):
            return
        answer = self._settle(metered)
        self._open.pop(key, None)
        if isinstance(answer, Status) and answer.code in _FOR_NOW:
            self._owed[key] = metered
        else:
            # Or it was settled or released by a call of its own.
            self._owed.pop(key, None)

    def _settle(self, metered: MeteredWork) -> bytes | Status:
        answer = self._call(Method.SETTLE, metered.settle(metered.used))
        if not isinstance(answer, Status) or answer.code is not grpc.StatusCode.FAILED_PRECONDITION:
            return answer
        # The feature's excess policy takes less than was used.
        hold = self._gate.reservations.find(*metered.key)
        decided = self._decide(metered, 0)
        most = None
        if hold is not None and decided is not None and decided.feature is not None:
            most = decided.feature.excess.charged_max(hold.amount)
        return answer if most is None else self._call(Method.SETTLE, metered.settle(most))

    def _decide(self, metered: MeteredWork, amount: int) -> Decided | None:
        customer, _ = metered.key
        request = Request(Kind.CHECK, customer, metered.resource, metered.feature, amount)
        decided = self._gate.decide(request, self._moment())
        return decided if isinstance(decided, Decided) else None

    def _call(self, method: Method, payload: bytes) -> bytes | Status:
        (answer,) = self._seam.answer([Call(method, payload)])
        if isinstance(answer, Pending):
            # A renewal, of a customer that has to be loaded again; it is done when it is.
            return Status(grpc.StatusCode.UNAVAILABLE, "the customer is not loaded")
        return answer


def _is_withdrawn(decided: Decided) -> bool:
    """Whether what one more unit is refused for takes away what is held as well."""
    verdict = decided.verdict
    if verdict.allowed:
        return False
    if verdict.reason is Reason.LIMIT_REACHED and verdict.state is not None:
        # Full is what a limit may be; it was lowered since, or usage was reported past it.
        limit = verdict.state.limit.limit
        return limit is not None and verdict.state.used > limit
    return verdict.reason not in (Reason.RATE_LIMITED, Reason.OUTAGE_POLICY)
