"""What a bench asks of the control plane: a catalog, customers, and the usage it settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc

from bench.failure import BenchError
from bench.processes import Installation
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb
from weighbridge.v1.admin_service_pb2_grpc import AdminServiceStub

_CALL_S_MAX: Final = 30.0
_STANDSTILL_S_MAX: Final = 60.0
_AT_ONCE: Final = 32
_POLL_S: Final = 0.25
_MESSAGE_BYTES_MAX: Final = 64 << 20


class Total(NamedTuple):
    """Usage of one feature by one customer."""

    amount: int
    calls: int


Totals = Mapping[tuple[str, str], Total]
"""By customer and feature."""


class Administration:
    """A connection to the admin service; an async context."""

    def __init__(self, installation: Installation) -> None:
        self._metadata = (("authorization", f"Bearer {installation.admin_token}"),)
        self._channel = grpc.aio.insecure_channel(
            installation.control_plane_address,
            options=(("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),),
        )
        self._admin: Any = AdminServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def apply_catalog(self, document: str, source_name: str) -> None:
        """Make a catalog document the current version."""
        request = pb.ApplyCatalogRequest(document=document, source_name=source_name)
        await self._call(self._admin.ApplyCatalog, request)

    async def set_limit(self, customer: str, feature: str, limit: int) -> None:
        """Override a customer's monthly limit of a feature."""
        limits = [types_pb.Limit(id="month", limit=limit)]
        entitlement = types_pb.Entitlement(feature=feature, enabled=True, limits=limits)
        request = pb.SetOverrideRequest(customer=customer, entitlement=entitlement)
        await self._call(self._admin.SetOverride, request)

    async def create_customers(self, customers: Iterable[str], plan: str) -> None:
        """Make customers on a plan, several at once."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def create(customer: str) -> None:
            async with room:
                request = pb.CreateCustomerRequest(id=customer, name=customer, plan=plan)
                await self._call(self._admin.CreateCustomer, request)

        async with asyncio.TaskGroup() as group:
            for customer in customers:
                group.create_task(create(customer))

    async def totals(self) -> dict[tuple[str, str], Total]:
        """Return all settled usage by customer and feature."""
        answer = await self._call(self._admin.QueryUsage, pb.QueryUsageRequest())
        return {(r.customer, r.feature): Total(r.amount, r.calls) for r in answer.rows}

    async def settled(self, calls: int) -> dict[tuple[str, str], Total]:
        """Wait until at least so many calls are settled; return the totals.

        Raises BenchError when nothing more is settled for a while.
        """
        before = -1
        deadline_s = 0.0
        while True:
            totals = await self.totals()
            found = sum(total.calls for total in totals.values())
            if found >= calls:
                return totals
            if found > before:
                before, deadline_s = found, time.monotonic() + _STANDSTILL_S_MAX
            if time.monotonic() > deadline_s:
                raise BenchError(
                    f"{found:,} of {calls:,} calls are settled, and no more since "
                    f"{_STANDSTILL_S_MAX:g} s"
                )
            await asyncio.sleep(_POLL_S)

    async def _call(self, method: Any, request: Any) -> Any:
        return await method(
            request, metadata=self._metadata, timeout=_CALL_S_MAX, wait_for_ready=True
        )
