"""Keeps a stream to the control plane open, with capped, jittered backoff."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import grpc

from sidecar.core.moment import Moment
from sidecar.uplink.session import IdentityRefusedError, Session
from weighbridge.rules.errors import WeighbridgeError
from weighbridge.runtime.logs import get_logger
from weighbridge.runtime.tokens import read_secret_file
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1.sync_service_pb2_grpc import SyncServiceStub

MESSAGE_BYTES_MAX: Final = 16 << 20
_SILENT_INTERVALS_MAX: Final = 3
_WELCOME_TIMEOUT_S: Final = 10.0
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),
    # Reconnecting is paced here, not by the channel.
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 50),
)

# What may pass with time. OSError holds ConnectionError and TimeoutError; a WeighbridgeError is a
# token file that is not there yet; the other two are a write on a stream that has just ended.
_PASSING: Final = (
    grpc.aio.AioRpcError,
    grpc.aio.UsageError,
    asyncio.InvalidStateError,
    OSError,
    WeighbridgeError,
)

Call = grpc.aio.StreamStreamCall[pb.SyncRequest, pb.SyncResponse]


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """Where the control plane is, and how patiently to look for it."""

    address: str
    token_path: Path
    software_version: str
    boot_id: str
    backoff_ms_min: int
    backoff_ms_max: int


class Uplink:
    """Runs streams one after the other until it is stopped."""

    def __init__(
        self,
        settings: UplinkSettings,
        session: Session,
        moment: Callable[[], Moment],
        renew_identity: Callable[[], None],
        random: Random,
    ) -> None:
        self._settings = settings
        self._session = session
        self._moment = moment
        self._renew_identity = renew_identity
        self._random = random
        self._wake = asyncio.Event()
        self._failures = 0
        self._log = get_logger("uplink")
        self.streams = 0
        session.on_outgoing = self._wake.set

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        while True:
            try:
                await self._run_stream()
            except IdentityRefusedError as error:
                self._log.warning("identity refused, taking a new one", detail=str(error))
                self._take_new_identity()
            except _PASSING as error:
                self._log.warning("stream lost", error=_describe(error))
            except Exception:  # noqa: BLE001 (logged whole, and tried again)
                # A defect here must not take down the answers that need no control plane.
                self._log.exception("stream failed")
            finally:
                self._session.ended()
            await asyncio.sleep(self._backoff_s())

    def _take_new_identity(self) -> None:
        try:
            self._renew_identity()
        except WeighbridgeError as error:
            self._log.warning("no new identity yet; tried again", error=str(error))

    def _backoff_s(self) -> float:
        """Return a wait drawn from the whole span up to the cap, so that a fleet spreads out."""
        settings = self._settings
        span_ms = min(settings.backoff_ms_max, settings.backoff_ms_min << min(self._failures, 20))
        self._failures += 1
        return self._random.uniform(settings.backoff_ms_min / 2, span_ms) / 1000

    async def _run_stream(self) -> None:
        # Read for every stream, so that a rotated token is taken up without a restart.
        token = read_secret_file(self._settings.token_path)
        metadata = (("authorization", f"Bearer {token}"),)
        address = self._settings.address
        async with grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
            call = SyncServiceStub(channel).Sync(metadata=metadata)
            try:
                await self._open(call)
                await self._converse(call)
            finally:
                call.cancel()

    async def _open(self, call: Call) -> None:
        settings, session = self._settings, self._session
        async with asyncio.timeout(_WELCOME_TIMEOUT_S):
            boot_ms = self._moment().boot_ms
            await call.write(session.hello(settings.boot_id, settings.software_version, boot_ms))
            message = await _read(call)
        session.receive(message, self._moment())
        if not session.is_welcome:
            raise ConnectionError("the control plane did not answer the hello with a welcome")
        self._failures = 0
        self.streams += 1
        self._log.info("connected", control_plane=settings.address)

    async def _converse(self, call: Call) -> None:
        tasks = [
            asyncio.ensure_future(work)
            for work in (self._receive(call), self._send(call), self._beat())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, call: Call) -> None:
        silence_s_max = self._session.heartbeat_interval_ms * _SILENT_INTERVALS_MAX / 1000
        while True:
            async with asyncio.timeout(silence_s_max):
                message = await _read(call)
            self._session.receive(message, self._moment())

    async def _send(self, call: Call) -> None:
        while True:
            self._wake.clear()
            while (message := self._session.next_message(self._moment().boot_ms)) is not None:
                await call.write(message)
            await self._wake.wait()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._session.heartbeat_interval_ms / 1000)
            self._session.beat(self._moment().boot_ms)


async def _read(call: Call) -> pb.SyncResponse:
    message = await call.read()
    if not isinstance(message, pb.SyncResponse):
        # The end of the stream: ask the call why, which raises unless it ended well.
        code = await call.code()
        raise ConnectionError(f"the control plane ended the stream: {await call.details() or code}")
    return message


def _describe(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
