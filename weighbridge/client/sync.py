"""The client for code without asyncio: the same calls, retries and answers as `Client`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

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
from weighbridge.client.holding import SyncHold
from weighbridge.client.metering import SyncMeter
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


class SyncClient:
    """Asks the sidecar beside this process; threads share it freely. See `Client`.

    `channel` takes the place of a connection to `address`, for tests with grpcio-testing.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout_s: float = 1.0,
        retry: RetryPolicy = RETRY_DEFAULT,
        when_unreachable: WhenUnreachable = "raise",
        channel: grpc.Channel | None = None,
    ) -> None:
        self._policy = CallPolicy(sidecar_address(address), timeout_s, retry, when_unreachable)
        self._channel = channel or grpc.insecure_channel(self._policy.address, CHANNEL_OPTIONS)
        self._stub: Any = SidecarServiceStub(self._channel)
        self._is_closed = False

    def check(
        self,
        customer: str,
        feature: str,
        amount: int | None = None,
        *,
        resource: str = "",
        value: str = "",
        timeout_s: float | None = None,
    ) -> Decision:
        """See `Client.check`."""
        return self._run(calls.check(Check(customer, feature, amount, resource, value), timeout_s))

    def batch_check(
        self, questions: Sequence[Check], *, timeout_s: float | None = None
    ) -> list[Decision]:
        """See `Client.batch_check`."""
        return self._run(calls.batch_check(questions, timeout_s))

    def consume(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[UsageOptions]
    ) -> Consumption:
        """See `Client.consume`."""
        keys = self._policy.generates_keys
        return self._run(calls.consume((customer, feature), amount, options, generates_keys=keys))

    def acquire(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[UsageOptions]
    ) -> Consumption:
        """See `Client.acquire`."""
        return self.consume(customer, feature, calls.acquired(amount), **options)

    def release(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[UsageOptions]
    ) -> Consumption:
        """See `Client.release`."""
        return self.consume(customer, feature, calls.released(amount), **options)

    @contextmanager
    def allocation(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[AllocationOptions]
    ) -> Iterator[Consumption]:
        """See `Client.allocation`."""
        held = self.acquire(customer, feature, amount, **options)
        try:
            yield held
        finally:
            if held.receipt is not None:
                self.release(customer, feature, amount, **options)

    def report(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[ReportOptions]
    ) -> Receipt:
        """See `Client.report`."""
        keys = self._policy.generates_keys
        return self._run(calls.report((customer, feature), amount, options, generates_keys=keys))

    def reserve(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[ReserveOptions]
    ) -> Reserved:
        """See `Client.reserve`."""
        return self._run(reservation_calls.reserve((customer, feature), amount, options))

    def extend(
        self,
        customer: str,
        reservation: str,
        amount: int | None = None,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Reserved:
        """See `Client.extend`."""
        whose = (customer, reservation)
        return self._run(reservation_calls.extend(whose, amount, ttl_s, timeout_s))

    def settle(
        self, customer: str, reservation: str, amount: int, *, timeout_s: float | None = None
    ) -> Settlement:
        """See `Client.settle`."""
        return self._run(reservation_calls.settle((customer, reservation), amount, timeout_s))

    def release_reservation(
        self, customer: str, reservation: str, *, timeout_s: float | None = None
    ) -> Released:
        """See `Client.release_reservation`."""
        return self._run(reservation_calls.release((customer, reservation), timeout_s))

    @contextmanager
    def reservation(
        self, customer: str, feature: str, amount: int = 1, **options: Unpack[ReserveOptions]
    ) -> Iterator[SyncHold]:
        """See `Client.reservation`."""
        hold = SyncHold(self._run, (customer, feature), options)
        hold.reserve(amount)
        try:
            yield hold
        except BaseException as error:
            hold.end(error)
            raise
        hold.end(None)

    @contextmanager
    def meter(
        self, customer: str, feature: str, chunk: int = 1, **options: Unpack[MeterOptions]
    ) -> Iterator[SyncMeter]:
        """See `Client.meter`."""
        opening = reservation_calls.meter((customer, feature), chunk, options)
        timeout_s = self._policy.timeout_of(options.get("timeout_s"))
        meter = SyncMeter(self._connected(), self._run, opening, self._policy.address, timeout_s)
        try:
            meter.open()
            yield meter
        except BaseException as error:
            meter.end(error)
            raise
        meter.end(None)

    def quote(
        self,
        customer: str,
        items: Sequence[QuoteItem],
        *,
        resource: str = "",
        currency: str = "",
        timeout_s: float | None = None,
    ) -> Quote:
        """See `Client.quote`."""
        return self._run(quoting.quote(customer, items, resource, currency, timeout_s))

    def entitlements(
        self, customer: str, *, resource: str = "", timeout_s: float | None = None
    ) -> Entitlements:
        """See `Client.entitlements`."""
        return self._run(calls.entitlements(customer, resource, timeout_s))

    def watch(
        self, customer: str, *, resource: str = "", patience_s: float | None = 30.0
    ) -> Iterator[Entitlements]:
        """See `Client.watch`. Blocks while nothing changes; `close` of the client ends it."""
        call = calls.watch(customer, resource)
        reconnects = Reconnects(self._policy, patience_s)
        stub = self._connected()
        while not self._is_closed:
            failure: grpc.RpcError | None = None
            stream = stub.Watch(call.request)
            try:
                for reply in stream:
                    reconnects.heard()
                    yield call.answer(reply)
            except grpc.RpcError as error:
                failure = error
            finally:
                stream.cancel()
            if not self._is_closed:
                time.sleep(reconnects.pause_s_after(failure))

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._is_closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        attempts = Attempts(call, self._policy)
        while True:
            method = getattr(self._connected(), call.method)
            try:
                reply = method(call.request, timeout=attempts.remaining_s())
            except grpc.RpcError as error:
                pause_s = attempts.pause_s_after(error)
                if pause_s is None:
                    return attempts.give_up(error)
            else:
                return call.answer(reply)
            time.sleep(pause_s)

    def _connected(self) -> Any:
        if self._is_closed:
            raise RuntimeError("the client is closed; make a new one")
        return self._stub
