"""Quote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from sidecar.core.decided import NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.quoting import Asked, Quoted, quote
from sidecar.service.watching import Watchers
from sidecar.wire.quote import asked_from_proto, quote_to_proto
from weighbridge.rules.errors import UnavailableError, WeighbridgeError
from weighbridge.runtime.status import status_of
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb


class QuotingService:
    """Answers what usage would cost."""

    def __init__(
        self,
        gate: Gate,
        watchers: Watchers,
        moment: Callable[[], Moment],
        want: Callable[[str], None],
        load_timeout_ms: int,
    ) -> None:
        self._gate = gate
        self._watchers = watchers
        self._moment = moment
        self._want = want
        self._load_timeout_s = load_timeout_ms / 1000

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the method handlers."""
        return {
            "Quote": grpc.unary_unary_rpc_method_handler(
                self.quote,
                sidecar_pb.QuoteRequest.FromString,
                sidecar_pb.QuoteResponse.SerializeToString,
            ),
        }

    async def quote(
        self, request: sidecar_pb.QuoteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> sidecar_pb.QuoteResponse:
        """Answer once the customer, and those above it, are here."""
        try:
            asked = asked_from_proto(request)
            with self._watchers.watching(asked.customer) as changed:
                quoted = await self._load(asked, changed)
        except WeighbridgeError as error:
            await context.abort(status_of(error), str(error))
        return quote_to_proto(quoted)

    async def _load(self, asked: Asked, changed: asyncio.Event) -> Quoted:
        wanted = ""
        try:
            async with asyncio.timeout(self._load_timeout_s):
                while True:
                    quoted = quote(self._gate, asked, self._moment())
                    if not isinstance(quoted, NotLoaded):
                        return quoted
                    if quoted.customer != wanted:
                        wanted = quoted.customer
                        self._watchers.watch_above(changed, (wanted,))
                        self._want(wanted)
                    await changed.wait()
                    changed.clear()
        except TimeoutError as error:
            problem = f"customer: {asked.customer!r} could not be loaded in time; try again"
            raise UnavailableError(problem) from error
