"""The stream to sidecars: snapshots down, usage up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, NamedTuple

import grpc
from sqlalchemy import Connection

from control_plane.granting.desk import Session
from control_plane.granting.rate_serving import RateService
from control_plane.granting.serving import LeaseService
from control_plane.granting.work import LeaseMessage, RateSharesTold
from control_plane.metering.epochs import EpochClaim, EpochRefused, register_epoch
from control_plane.metering.ingest import Settlement
from control_plane.metering.queue import IngestQueue
from control_plane.metering.records import (
    EpochKey,
    RecordMark,
    UsageRecord,
    require_placeable,
)
from control_plane.provisioning import CatalogLibrary
from control_plane.publishing.delivery import Deliverer
from control_plane.publishing.incarnations import is_undone
from control_plane.publishing.loading import SnapshotLoader, SnapshotReader
from control_plane.publishing.outbox import UsageSetAside, UsageSettled
from control_plane.publishing.publisher import Publisher
from control_plane.publishing.sessions import Greeting, SidecarSession
from control_plane.storage.database import Database
from control_plane.wire.leasing import lease_request_from_proto
from control_plane.wire.publishing import (
    delivery_to_proto,
    greeting_from_proto,
    held_from_proto,
    refused_from_proto,
)
from control_plane.wire.rate_sharing import rate_request_from_proto
from control_plane.wire.usage import record_mark_to_proto, usage_record_from_proto
from weighbridge.rules.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from weighbridge.runtime.logs import get_logger
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import sync_service_pb2_grpc

RECORDS_PER_BATCH_MAX: Final = 2_000
BATCHES_SETTLING_MAX: Final = 32
"""Of one stream at once; past that, its next message waits."""

HELLO_TIMEOUT_S: Final = 10.0
SILENT_INTERVALS_MAX: Final = 4

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[pb.SyncRequest]

_log = get_logger("sync")


class Intake(NamedTuple):
    """What takes what streams bring."""

    usage: IngestQueue
    leases: LeaseService
    rates: RateService


class StreamTimes(NamedTuple):
    """What a welcome says of time: of silence, and how long leases may be spent."""

    heartbeat_interval_ms: int
    lease_ttl_ms: int


class _Registered(NamedTuple):
    """A sidecar that may go on: what of its usage is settled, and whether it must start over."""

    settled: tuple[RecordMark, ...]
    must_start_over: bool


class SyncService(sync_service_pb2_grpc.SyncServiceServicer):
    """Serves the streams of all sidecars."""

    def __init__(
        self,
        database: Database,
        library: CatalogLibrary,
        publisher: Publisher,
        intake: Intake,
        now_ms: Callable[[], int],
        times: StreamTimes,
    ) -> None:
        self._database = database
        self._library = library
        self._publisher = publisher
        self._queue, self._leases, self._rates = intake
        self._leases.deliver = _deliver_lease
        self._leases.fail = _fail
        self._rates.deliver = _deliver_lease
        self._now_ms = now_ms
        self._heartbeat_interval_ms = times.heartbeat_interval_ms
        self._lease_ttl_ms = times.lease_ttl_ms
        self._loader = SnapshotLoader(database, SnapshotReader(library, now_ms))
        self._is_stopping = asyncio.Event()
        self.on_nack: Callable[[], None] = _nothing
        self.on_delivered: Callable[[str], None] = _ignore

    def stop(self) -> None:
        """End every stream."""
        self._is_stopping.set()
        self._publisher.wake_all()

    async def Sync(
        self, request_iterator: Requests, context: Context
    ) -> AsyncIterator[pb.SyncResponse]:
        """Serve one stream: a hello, a welcome, and then what each side has."""
        greeting = await self._greeting(request_iterator)
        registered = await self._register(greeting)
        if isinstance(registered, EpochRefused):
            detail = registered.detail
            _log.warning("sidecar refused", sidecar_id=greeting.sidecar_id, detail=detail)
            yield pb.SyncResponse(identity_refused=pb.IdentityRefused(detail=detail))
            return
        if registered.must_start_over:
            _log.warning("sidecar holds what was undone", sidecar_id=greeting.sidecar_id)
            greeting = greeting.without_held()
        session = SidecarSession(greeting, self._now_ms())
        # Before the welcome: with it, the sidecar may spend what it holds.
        await self._leases.greet(session, greeting.claim)
        self._rates.connect(session, greeting.sidecar_id, greeting.rate_shares)
        self._publisher.connect(session)
        _log.info("sidecar connected", sidecar_id=greeting.sidecar_id, epoch=greeting.epoch)
        receiving = asyncio.create_task(self._receive(request_iterator, session))
        try:
            yield pb.SyncResponse(welcome=self._welcome(registered))
            async for message in self._deliver(session, receiving):
                yield message
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            self._publisher.disconnect(session)
            self._leases.disconnect(session)
            self._rates.disconnect(session)
            _log.info("sidecar disconnected", sidecar_id=greeting.sidecar_id)

    async def _greeting(self, requests: Requests) -> Greeting:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            raise InvalidArgumentError("hello", "has to come first, within 10 s") from None
        if first.WhichOneof("message") != "hello":
            raise InvalidArgumentError("hello", "has to be the first message of a stream")
        return greeting_from_proto(first.hello)

    async def _register(self, greeting: Greeting) -> _Registered | EpochRefused:
        claim = EpochClaim(
            greeting.sidecar_id,
            greeting.epoch,
            greeting.predecessor,
            greeting.boot_id,
            greeting.epochs,
        )

        def register(connection: Connection) -> _Registered | EpochRefused:
            settled = register_epoch(connection, claim, self._now_ms())
            if isinstance(settled, EpochRefused):
                return settled
            return _Registered(settled, is_undone(connection, greeting.seen))

        return await self._database.write(register)

    def _welcome(self, registered: _Registered) -> pb.Welcome:
        return pb.Welcome(
            control_plane_now_unix_ms=self._now_ms(),
            heartbeat_interval_ms=self._heartbeat_interval_ms,
            settled=[record_mark_to_proto(mark) for mark in registered.settled],
            incarnation=self._publisher.incarnation,
            start_over=registered.must_start_over,
            lease_ttl_ms=self._lease_ttl_ms,
        )

    async def _deliver(
        self, session: SidecarSession, receiving: asyncio.Task[None]
    ) -> AsyncIterator[pb.SyncResponse]:
        deliverer = Deliverer(session, self._database, self._library, self._loader, self._now_ms)
        interval_s = self._heartbeat_interval_ms / 1000
        loop = asyncio.get_running_loop()
        receiving.add_done_callback(lambda _: session.wake())
        beat_at_s = loop.time() + interval_s
        while not self._is_over(session, receiving):
            sent = 0
            for delivery in await deliverer.next():
                sent += 1
                self.on_delivered(type(delivery).__name__)
                yield self._stamped(delivery_to_proto(delivery), session)
            if loop.time() >= beat_at_s:
                beat_at_s = loop.time() + interval_s
                yield self._stamped(delivery_to_proto(deliverer.beat()), session)
            if not sent and session.is_initial_complete and not session.outbox:
                await session.wait(max(beat_at_s - loop.time(), 0))
            elif not sent and session.totals_since is not None:
                await session.wait(interval_s)

    def _is_over(self, session: SidecarSession, receiving: asyncio.Task[None]) -> bool:
        """Whether the stream ends now; raises where it ends for a reason to be told."""
        if self._is_stopping.is_set():
            raise UnavailableError("the control plane stops; connect again")
        if session.is_replaced.is_set():
            raise FailedPreconditionError("a newer stream of this sidecar took over")
        if session.failure is not None:
            raise session.failure
        if receiving.done():
            receiving.result()
            return True
        return False

    def _stamped(self, message: pb.SyncResponse, session: SidecarSession) -> pb.SyncResponse:
        """Say when it was sent, so that what began before is in force when it arrives."""
        message.control_plane_now_unix_ms = self._now_ms()
        seen = session.seen
        message.revision, message.usage_revision = seen.revision, seen.usage_revision
        return message

    async def _receive(self, requests: Requests, session: SidecarSession) -> None:
        silence_s_max = self._heartbeat_interval_ms * SILENT_INTERVALS_MAX / 1000
        settling: deque[asyncio.Task[None]] = deque()
        try:
            while True:
                try:
                    async with asyncio.timeout(silence_s_max):
                        request = await anext(requests)
                except StopAsyncIteration:
                    await asyncio.gather(*settling)
                    return
                except TimeoutError:
                    raise UnavailableError("the sidecar was silent for too long") from None
                answering = await self._take(request, session)
                if answering is not None:
                    settling.append(asyncio.create_task(_or_fail(answering, session)))
                # Usage that is to be settled holds up nothing behind it: calls wait for leases.
                while settling and (settling[0].done() or len(settling) > BATCHES_SETTLING_MAX):
                    await settling.popleft()
        finally:
            for task in settling:
                task.cancel()
            await asyncio.gather(*settling, return_exceptions=True)

    async def _take(
        self, request: pb.SyncRequest, session: SidecarSession
    ) -> Coroutine[Any, Any, None] | None:
        """Take a request in; of usage, return what answers it once it is settled."""
        match request.WhichOneof("message"):
            case "usage":
                return await self._take_usage(request.usage, session)
            case "subscribe":
                session.subscribe(held_from_proto("subscribe", request.subscribe.customers))
            case "unsubscribe":
                session.unsubscribe(request.unsubscribe.customers)
            case "lease_request" | "rate_request":
                self._take_wants(request, session)
            case "heartbeat":
                self._rates.renew(session)
                self._leases.renew(session, request.heartbeat.number)
            case "nack":
                self._take_nack(request.nack, session)
            case "hello":
                raise InvalidArgumentError("hello", "has been said on this stream already")
            case _:
                pass
        return None

    def _take_wants(self, request: pb.SyncRequest, session: SidecarSession) -> None:
        if request.HasField("rate_request"):
            self._rates.request(session, rate_request_from_proto(request.rate_request))
        else:
            self._leases.request(session, lease_request_from_proto(request.lease_request))

    def _take_nack(self, message: pb.Nack, session: SidecarSession) -> None:
        self.on_nack()
        nack = refused_from_proto(message)
        session.nacks.append(nack)
        _log.error(
            "snapshot not applied by a sidecar",
            sidecar_id=session.greeting.sidecar_id,
            **nack._asdict(),
        )

    async def _take_usage(
        self, usage: pb.UsageBatch, session: SidecarSession
    ) -> Coroutine[Any, Any, None] | None:
        if len(usage.records) > RECORDS_PER_BATCH_MAX:
            problem = f"has {len(usage.records)}; at most {RECORDS_PER_BATCH_MAX}"
            raise InvalidArgumentError("usage.records", problem)
        records = [usage_record_from_proto(record) for record in usage.records]
        for index, record in enumerate(records):
            require_placeable(f"usage.records[{index}]", record)
        if not records:
            return None
        settled = await self._queue.submit(records)

        async def answer() -> None:
            self._answer(records, await settled, session)

        return answer()

    def _answer(
        self, records: list[UsageRecord], settlement: Settlement, session: SidecarSession
    ) -> None:
        mine = {record.mark for record in records}
        reports = [report for report in settlement.reports if report.mark in mine]
        session.put_urgent(UsageSetAside(report) for report in reports)
        highest: dict[EpochKey, RecordMark] = {}
        for record in records:
            before = highest.get(record.epoch_key, record.mark)
            highest[record.epoch_key] = max(before, record.mark)
        # Records that were settled before, or count in no window, moved no total now.
        usage_revision = settlement.usage_revision or self._publisher.usage_revision
        session.note_read(0, usage_revision)
        session.put_urgent(
            UsageSettled(
                mark._replace(number=min(mark.number, settlement.marks[key])), usage_revision
            )
            for key, mark in highest.items()
        )
        for key, mark in highest.items():
            if settlement.marks[key] < mark.number:
                raise FailedPreconditionError(
                    f"usage.records: epoch {key.epoch} is settled up to {settlement.marks[key]}; "
                    "the next record is missing; connect again and resend from there"
                )


async def _or_fail(answering: Coroutine[Any, Any, None], session: SidecarSession) -> None:
    try:
        await answering
    except Exception as error:  # noqa: BLE001 (the stream ends with it)
        session.fail(error)


def _deliver_lease(session: Session, message: LeaseMessage | RateSharesTold) -> None:
    assert isinstance(session, SidecarSession), "it said hello as such"
    try:
        session.put_urgent((message,))
    except ResourceExhaustedError as error:
        session.fail(error)


def _fail(session: Session, error: Exception) -> None:
    assert isinstance(session, SidecarSession), "it said hello as such"
    session.fail(error)


def _nothing() -> None:
    return


def _ignore(_kind: str) -> None:
    return
