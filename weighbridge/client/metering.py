"""A meter for the time of a block: `Meter` for asyncio, `SyncMeter` without."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import grpc
import grpc.aio

from weighbridge.client import reservation_calls, wire
from weighbridge.client.calls import Call
from weighbridge.client.errors import KeyReusedError, SidecarUnreachableError, code_of, error_of
from weighbridge.client.values import MeterAnswer, MeterSignal, Settlement
from weighbridge.rules.errors import WeighbridgeError
from weighbridge.rules.units import require_amount
from weighbridge.v1 import sidecar_service_pb2 as pb


class _Metering:
    """What both have: what was told, and what was answered.

    True while the work may go on. `last` is the last answer, `settlement` what was charged, once
    the block has ended.
    """

    def __init__(self, opening: pb.MeterRequest, address: str, timeout_s: float) -> None:
        self._opening = opening
        self._address = address
        self._timeout_s = timeout_s
        self._used = 0
        self._answered = 0
        self._is_broken = False
        self.last: MeterAnswer | None = None
        self.settlement: Settlement | None = None

    def __bool__(self) -> bool:
        return bool(self.last)

    @property
    def id(self) -> str:
        """The id of the reservation that holds its units."""
        return self._opening.open.reservation

    @property
    def units_used(self) -> int:
        """All units used so far, as told."""
        return self._used

    @property
    def _is_open(self) -> bool:
        # One that was refused at first holds nothing, and the sidecar has ended it.
        return self.last is not None and self.last.held > 0

    def _message(self, amount: int) -> pb.MeterRequest:
        self._used = require_amount("amount", amount)
        return pb.MeterRequest(used_amount=amount)

    def _take(self, reply: pb.MeterResponse) -> MeterAnswer:
        answer = wire.meter_answer_from_proto(reply)
        if answer.signal is MeterSignal.SETTLED:
            self.settlement = wire.metered_from_proto(reply)
        else:
            self._answered = answer.used
            self.last = answer
        return answer

    def _error(self, error: grpc.RpcError) -> WeighbridgeError:
        if code_of(error) is grpc.StatusCode.INTERNAL:
            # What grpc.aio itself makes of a message that cannot be written any more.
            return self._silent("the stream broke")
        self._is_broken = True
        return error_of(error, self._address, None)

    def _silent(self, what: str) -> WeighbridgeError:
        self._is_broken = True
        return SidecarUnreachableError(f"sidecar at {self._address}: {what}", None)

    def _settling(self, amount: int) -> Call[Settlement]:
        whose = (self._opening.open.customer, self.id)
        return reservation_calls.settle(whose, amount, self._timeout_s)

    def _settled_by_sidecar(self, settlement: Settlement) -> Settlement:
        """Return what it settled of a broken stream: as much as it had heard of."""
        unheard = self._used - self._answered
        return replace(settlement, uncharged_amount=unheard)


class Meter(_Metering):
    """Metered work for the time of an `async with`."""

    def __init__(
        self,
        call: Any,
        run: Callable[[Call[Any]], Awaitable[Any]],
        opening: pb.MeterRequest,
        address: str,
        timeout_s: float,
    ) -> None:
        super().__init__(opening, address, timeout_s)
        self._call = call
        self._run = run

    async def open(self) -> None:
        """Hold the first chunk."""
        await self._exchange(self._opening)

    async def used(self, amount: int) -> MeterAnswer:
        """Tell how many units were used so far, in all; hear whether the work may go on."""
        return await self._exchange(self._message(amount))

    async def add(self, amount: int = 1) -> MeterAnswer:
        """Tell that so many more units were used."""
        return await self.used(self._used + require_amount("amount", amount))

    async def end(self, error: BaseException | None) -> None:
        """Charge what was used, when the block ends; after a broken stream, too."""
        if not self._is_open:
            self._call.cancel()
            return
        try:
            if not self._is_broken and not self._call.done():
                await self._end_stream()
            if self.settlement is None:
                await self._settle()
        except WeighbridgeError as failure:
            if error is None:
                raise
            error.add_note(f"the meter {self.id!r} could not be settled: {failure}")

    async def _exchange(self, request: pb.MeterRequest) -> MeterAnswer:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._call.write(request)
                reply = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        except asyncio.InvalidStateError as error:
            raise self._silent("the stream has ended") from error
        except TimeoutError as error:
            raise self._silent(f"no answer within {self._timeout_s} s") from error
        if reply is grpc.aio.EOF:
            raise self._silent("it ended the stream")
        return self._take(reply)

    async def _end_stream(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._call.done_writing()
                reply = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            # Settled by a call of its own then, which tells what is wrong.
            return
        if reply is not grpc.aio.EOF:
            self._take(reply)

    async def _settle(self) -> None:
        self._call.cancel()
        try:
            self.settlement = await self._run(self._settling(self._used))
        except KeyReusedError:
            settled = await self._run(self._settling(self._answered))
            self.settlement = self._settled_by_sidecar(settled)


class SyncMeter(_Metering):
    """Metered work for the time of a `with`. See `Meter`."""

    def __init__(
        self,
        stub: Any,
        run: Callable[[Call[Any]], Any],
        opening: pb.MeterRequest,
        address: str,
        timeout_s: float,
    ) -> None:
        super().__init__(opening, address, timeout_s)
        self._requests: SimpleQueue[pb.MeterRequest | None] = SimpleQueue()
        self._call = stub.Meter(iter(self._requests.get, None))
        self._run = run

    def open(self) -> None:
        """See `Meter.open`."""
        self._exchange(self._opening)

    def used(self, amount: int) -> MeterAnswer:
        """See `Meter.used`."""
        return self._exchange(self._message(amount))

    def add(self, amount: int = 1) -> MeterAnswer:
        """See `Meter.add`."""
        return self.used(self._used + require_amount("amount", amount))

    def end(self, error: BaseException | None) -> None:
        """See `Meter.end`."""
        # Also where it is broken: a thread of gRPC waits for the next message.
        self._requests.put(None)
        if not self._is_open:
            self._call.cancel()
            return
        try:
            if not self._is_broken:
                self._end_stream()
            if self.settlement is None:
                self._settle()
        except WeighbridgeError as failure:
            if error is None:
                raise
            error.add_note(f"the meter {self.id!r} could not be settled: {failure}")

    def _exchange(self, request: pb.MeterRequest) -> MeterAnswer:
        self._requests.put(request)
        try:
            reply = self._read()
        except grpc.RpcError as error:
            raise self._error(error) from error
        if reply is None:
            raise self._silent("it ended the stream")
        return self._take(reply)

    def _end_stream(self) -> None:
        try:
            reply = self._read()
        except grpc.RpcError:
            # Settled by a call of its own then, which tells what is wrong.
            return
        if reply is not None:
            self._take(reply)

    def _read(self) -> pb.MeterResponse | None:
        # The stream as a whole has no deadline, and a read of it takes none.
        timer = threading.Timer(self._timeout_s, self._call.cancel)
        timer.start()
        try:
            return next(self._call, None)
        finally:
            timer.cancel()

    def _settle(self) -> None:
        self._call.cancel()
        try:
            self.settlement = self._run(self._settling(self._used))
        except KeyReusedError:
            settled = self._run(self._settling(self._answered))
            self.settlement = self._settled_by_sidecar(settled)
