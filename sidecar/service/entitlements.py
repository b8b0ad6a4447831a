"""GetEntitlements and Watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from sidecar.core.decided import NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.viewing import CustomerView, view_customer
from sidecar.service.watching import Watchers
from sidecar.wire.view import view_to_proto
from weighbridge.rules.errors import (
    ResourceExhaustedError,
    UnavailableError,
    WeighbridgeError,
)
from weighbridge.rules.units import require_id, require_optional_id
from weighbridge.runtime.status import status_of
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb

WATCHES_MAX: Final = 1_000
# Changes within this time are sent as one.
_FOLD_S: Final = 0.05
# A window can turn, or an override expire, without anything being pushed.
_REFRESH_S: Final = 10.0


class EntitlementsService:
    """Answers what a customer has, now and as it changes."""

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
            "GetEntitlements": grpc.unary_unary_rpc_method_handler(
                self.get_entitlements,
                sidecar_pb.GetEntitlementsRequest.FromString,
                sidecar_pb.GetEntitlementsResponse.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self.watch,
                sidecar_pb.WatchRequest.FromString,
                sidecar_pb.WatchResponse.SerializeToString,
            ),
        }

    async def get_entitlements(
        self,
        request: sidecar_pb.GetEntitlementsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> sidecar_pb.GetEntitlementsResponse:
        """Answer once."""
        try:
            _require_owner(request)
            with self._watchers.watching(request.customer) as changed:
                view = await self._load(request.customer, request.resource, changed)
        except WeighbridgeError as error:
            await context.abort(status_of(error), str(error))
        return sidecar_pb.GetEntitlementsResponse(entitlements=view_to_proto(view))

    async def watch(
        self, request: sidecar_pb.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[sidecar_pb.WatchResponse]:
        """Answer now and after each change, until the caller leaves."""
        try:
            _require_owner(request)
            if len(self._watchers) >= WATCHES_MAX:
                raise ResourceExhaustedError(f"{WATCHES_MAX} watches are open")
            with self._watchers.watching(request.customer) as changed:
                while True:
                    view = await self._load(request.customer, request.resource, changed)
                    changed.clear()
                    self._watchers.watch_above(changed, view.ancestors)
                    yield sidecar_pb.WatchResponse(entitlements=view_to_proto(view))
                    await _wait(changed, _REFRESH_S)
                    await asyncio.sleep(_FOLD_S)
        except WeighbridgeError as error:
            await context.abort(status_of(error), str(error))

    async def _load(self, customer: str, resource: str, changed: asyncio.Event) -> CustomerView:
        deadline_s = asyncio.get_running_loop().time() + self._load_timeout_s
        wanted = ""
        while True:
            view = view_customer(self._gate, customer, resource, self._moment())
            if not isinstance(view, NotLoaded):
                return view
            if view.customer != wanted:
                # The customer, or one above it.
                wanted = view.customer
                self._watchers.watch_above(changed, (wanted,))
                self._want(wanted)
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0 or not await _wait(changed, left_s):
                raise UnavailableError(
                    f"customer: {customer!r} could not be loaded in time; try again"
                )
            changed.clear()


def _require_owner(
    request: sidecar_pb.GetEntitlementsRequest | sidecar_pb.WatchRequest,
) -> None:
    require_id("customer", request.customer)
    require_optional_id("resource", request.resource)


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for an event; False where it did not come in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
