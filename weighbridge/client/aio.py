"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, Unpack

import grpc.aio

from weighbridge.client import calls, quoting, reservation_calls
from weighbridge.client.address import sidecar_address
from weighbridge.client.calls import (
    AllocationOptions,
    Call,
    MeterOptions,
    ReportOptions,
    ReserveOptions,
    UsageOptions,
)
from weighbridge.client.channel import CHANNEL_OPTIONS
from weighbridge.client.holding import Hold
from weighbridge.client.metering import Meter
from weighbridge.client.quoting import Quote, QuoteItem
from weighbridge.client.retry import (
    RETRY_DEFAULT,
    Attempts,
    CallPolicy,
    Reconnects,
    RetryPolicy,
    WhenUnreachable,
)
from weighbridge.client.values import (
    Check,
    Consumption,
    Decision,
    Entitlements,
    Receipt,
    Released,
    Reserved,
    Settlement,
)
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

T = TypeVar("T")


class _Connection(NamedTuple):
    channel: grpc.aio.Channel
    stub: Any


class Client:
    """Asks the sidecar beside this process. One per process; tasks share it freely.

    `address` is host:port or unix:///path; without it the environment's WEIGHBRIDGE_SIDECAR, else
    127.0.0.1:7700. Nothing is connected before the first call, so it can be made at import.
    `timeout_s` bounds each call with all its repetitions; every method takes one of its own.
    `when_unreachable` is what `check`, `batch_check` and `consume` answer for a sidecar that gives
    no answer: "raise" (SidecarUnreachableError), "allow" or "deny" (a Decision that says so:
    `is_fallback`). All other methods raise. Errors: `weighbridge.client.errors`.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout_s: float = 1.0,
        retry: RetryPolicy = RETRY_DEFAULT,
        when_unreachable: WhenUnreachable = "raise",
    ) -> None:
        self._policy = CallPolicy(sidecar_address(address), timeout_s, retry, when_unreachable)
        self._connections: dict[asyncio.AbstractEventLoop, _Connection] = {}
        self._is_closed = False

    async def check(
        self,
        customer: str,
        feature: str,
        amount: int | None = None,
        *,
        resource: str = "",
        value: str = "",
        timeout_s: float | None = None,
    ) -> Decision:
        """Ask whether this would be allowed. Changes nothing.

        `amount`: units of a metered feature (1 where it is None), or the number to compare with a
        number feature. `value`: the value wanted of an enum feature.
        """
        question = Check(customer, feature, amount, resource, value)
        return await self._run(calls.check(question, timeout_s))

    async def batch_check(
        self, questions: Sequence[Check], *, timeout_s: float | None = None
    ) -> list[Decision]:
        """Ask up to 1,000 questions in one call; the answers are in their order."""
        return await self._run(calls.batch_check(questions, timeout_s))

    async def consume(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[UsageOptions]
    ) -> Consumption:
        """Check and record usage in one atomic step. A refused call records nothing.

        Of an allocation feature, a negative amount releases: it is never refused for a limit.
        """
        keys = self._policy.generates_keys
        call = calls.consume((customer, feature), amount, options, generates_keys=keys)
        return await self._run(call)

    async def acquire(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[UsageOptions]
    ) -> Consumption:
        """Hold units of an allocation feature, if all of them are free, until they are released."""
        return await self.consume(customer, feature, calls.acquired(amount), **options)

    async def release(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[UsageOptions]
    ) -> Consumption:
        """Give units back that were acquired here or anywhere else.

        Raises whenever the sidecar did not confirm it, whatever `when_unreachable` says.
        """
        return await self.consume(customer, feature, calls.released(amount), **options)

    @asynccontextmanager
    async def allocation(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[AllocationOptions]
    ) -> AsyncIterator[Consumption]:
        """Acquire for the time of an `async with`, and release at its end what was acquired.

        A refusal is a value here too: look at what `as` gives.
        """
        held = await self.acquire(customer, feature, amount, **options)
        try:
            yield held
        finally:
            if held.receipt is not None:
                await self.release(customer, feature, amount, **options)

    async def report(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[ReportOptions]
    ) -> Receipt:
        """Record usage that already happened; never refused for a limit.

        Raises whenever the sidecar did not confirm it, whatever `when_unreachable` says.
        """
        keys = self._policy.generates_keys
        call = calls.report((customer, feature), amount, options, generates_keys=keys)
        return await self._run(call)

    async def reserve(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[ReserveOptions]
    ) -> Reserved:
        """Hold units for work whose cost is not known yet: its worst case.

        A refusal holds nothing. `reservation` is a context manager that also ends the hold.
        """
        return await self._run(reservation_calls.reserve((customer, feature), amount, options))

    async def extend(
        self,
        customer: str,
        reservation: str,
        amount: int | None = None,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Reserved:
        """Hold so many units in all (not fewer than now), or for so long from now, or both."""
        whose = (customer, reservation)
        return await self._run(reservation_calls.extend(whose, amount, ttl_s, timeout_s))

    async def settle(
        self, customer: str, reservation: str, amount: int, *, timeout_s: float | None = None
    ) -> Settlement:
        """Charge what the work really used, and end the hold; after it has expired, too.

        Raises whenever the sidecar did not confirm it, whatever `when_unreachable` says.
        """
        return await self._run(reservation_calls.settle((customer, reservation), amount, timeout_s))

    async def release_reservation(
        self, customer: str, reservation: str, *, timeout_s: float | None = None
    ) -> Released:
        """End the hold and charge nothing."""
        return await self._run(reservation_calls.release((customer, reservation), timeout_s))

    @asynccontextmanager
    async def reservation(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[ReserveOptions]
    ) -> AsyncIterator[Hold]:
        """Hold units for the time of an `async with`; `settle` in it charges what was used.

        At its end without `settle`, what `used` says is settled; where it says nothing, all is
        released. A refusal is a value here too: look at what `as` gives.
        """
        hold = Hold(self._run, (customer, feature), options)
        await hold.reserve(amount)
        try:
            yield hold
        except BaseException as error:
            await hold.end(error)
            raise
        await hold.end(None)

    @asynccontextmanager
    async def meter(
        self, customer: str, feature: str, chunk: int = 1, **options: Unpack[MeterOptions]
    ) -> AsyncIterator[Meter]:
        """Meter work whose cost is known only as it runs, for the time of an `async with`.

        `chunk` units are held ahead of use: what the work may use before it tells `used` again.
        What was told is charged when the block ends, however it ends. Raises where the sidecar
        does not answer, whatever `when_unreachable` says.
        """
        opening = reservation_calls.meter((customer, feature), chunk, options)
        timeout_s = self._policy.timeout_of(options.get("timeout_s"))
        call = self._connected().Meter()
        meter = Meter(call, self._run, opening, self._policy.address, timeout_s)
        try:
            await meter.open()
            yield meter
        except BaseException as error:
            await meter.end(error)
            raise
        await meter.end(None)

    async def quote(
        self,
        customer: str,
        items: Sequence[QuoteItem],
        *,
        resource: str = "",
        currency: str = "",
        timeout_s: float | None = None,
    ) -> Quote:
        """Say what usage would cost on the customer's own plan version, and if it would pass."""
        return await self._run(quoting.quote(customer, items, resource, currency, timeout_s))

    async def entitlements(
        self, customer: str, *, resource: str = "", timeout_s: float | None = None
    ) -> Entitlements:
        """List all that a customer, or one resource of it, is entitled to, with usage."""
        return await self._run(calls.entitlements(customer, resource, timeout_s))

    async def watch(
        self, customer: str, *, resource: str = "", patience_s: float | None = 30.0
    ) -> AsyncIterator[Entitlements]:
        """Yield the entitlements now, and again after each change of them.

        Windows turn without a change being pushed, so the same may come again now and then.
        Comes back by itself when the sidecar restarts, and then yields what holds now. Raises
        SidecarUnreachableError after `patience_s` without a sidecar; None: never.
        """
        call = calls.watch(customer, resource)
        reconnects = Reconnects(self._policy, patience_s)
        stub = self._connected()
        while not self._is_closed:
            failure: grpc.RpcError | None = None
            stream = stub.Watch(call.request)
            try:
                async for reply in stream:
                    reconnects.heard()
                    yield call.answer(reply)
            except grpc.RpcError as error:
                failure = error
            except asyncio.CancelledError:
                if self._is_task_cancelled():
                    raise
            finally:
                stream.cancel()
            if not self._is_closed:
                await asyncio.sleep(reconnects.pause_s_after(failure))

    async def close(self) -> None:
        """Close the connection. Calls in flight raise RuntimeError, a watch ends."""
        self._is_closed = True
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        # Those of other loops can only go with their loop.
        self._connections.clear()
        if connection is not None:
            await connection.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        attempts = Attempts(call, self._policy)
        while True:
            method = getattr(self._connected(), call.method)
            try:
                reply = await method(call.request, timeout=attempts.remaining_s())
            except grpc.RpcError as error:
                pause_s = attempts.pause_s_after(error)
                if pause_s is None:
                    return attempts.give_up(error)
            except asyncio.CancelledError:
                if self._is_task_cancelled():
                    raise
                pause_s = 0.0
            else:
                return call.answer(reply)
            await asyncio.sleep(pause_s)

    def _is_task_cancelled(self) -> bool:
        """Tell a cancelled task from a call that `close` cancelled: grpc.aio raises alike."""
        task = asyncio.current_task()
        return not self._is_closed or (task is not None and task.cancelling() > 0)

    def _connected(self) -> Any:
        """Return the stub for the running loop: a channel of grpc.aio belongs to one loop."""
        if self._is_closed:
            raise RuntimeError("the client is closed; make a new one")
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            # Test clients run each request in a loop of its own.
            for ended in [other for other in self._connections if other.is_closed()]:
                del self._connections[ended]
            channel = grpc.aio.insecure_channel(self._policy.address, CHANNEL_OPTIONS)
            connection = _Connection(channel, SidecarServiceStub(channel))
            self._connections[loop] = connection
        return connection.stub
