"""The control plane: the shipped services on one database, without an event loop or a server."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random
from typing import Any

from control_plane import provisioning
from control_plane.api.sync_service import Intake, StreamTimes, SyncService
from control_plane.granting.desk import LeaseDesk
from control_plane.granting.granter import Granter
from control_plane.granting.rate_desk import RateDesk
from control_plane.granting.rate_serving import RateService
from control_plane.granting.serving import LeaseService
from control_plane.leasing.holding import HolderClaim, LeaseTerms
from control_plane.metering.epochs import EpochRefused
from control_plane.metering.ingest import Settlement
from control_plane.metering.queue import (
    WEIGHT_BESIDE_OTHER_WORK,
    WEIGHT_PER_TRANSACTION,
    IngestQueue,
    _Waiting,
)
from control_plane.metering.records import EpochKey, UsageRecord
from control_plane.publishing.delivery import Deliverer
from control_plane.publishing.loading import Loaded, SnapshotReader
from control_plane.publishing.notices import ChangeNotices
from control_plane.publishing.publisher import Publisher
from control_plane.publishing.sessions import SessionRegistry, SidecarSession
from control_plane.storage.database import Database
from control_plane.wire.publishing import delivery_to_proto, greeting_from_proto
from tests.simulation.immediate import Promise, Task, at_once
from tests.simulation.immediate_database import ImmediateDatabase, ProcessDiedError
from tests.simulation.machines import BEGAN_MS, Timeline
from tests.simulation.network import Schedule, Stream
from weighbridge.v1 import sync_service_pb2 as pb

HEARTBEAT_MS = 1_500
TERMS = LeaseTerms(ttl_ms=8_000, lost_after_ms=30_000)
RECALL_MS = 250
SILENT_INTERVALS_MAX = 4


class SimulatedQueue(IngestQueue):
    """The queue of usage, one transaction at a time when it is told to."""

    on_work: Callable[[], None]

    async def submit(self, records: Sequence[UsageRecord]) -> Awaitable[Settlement]:
        promise = Promise()
        self._queue.put_nowait(_Waiting(records, promise))  # type: ignore[arg-type]
        self.on_work()
        return promise

    def wake(self) -> None:
        self.on_work()

    def pump(self) -> None:
        """Do one transaction of what waits, as `run` does."""
        work = self.companion.take()
        group = self._take(WEIGHT_PER_TRANSACTION if work is None else WEIGHT_BESIDE_OTHER_WORK)
        if work is None and not group:
            return
        self._tell(group, work, at_once(self._commit(group, work)))
        self.on_work()


class SimulatedLeases(LeaseService):
    """Leases; a hello waits for its transaction without an event loop."""

    async def greet(self, session: Any, claim: HolderClaim) -> None:
        greeted = self._greeted[session] = Promise()  # type: ignore[assignment]
        self._desk.connect(session, claim)
        self._cancel_replaced()
        self._queue.wake()
        try:
            await greeted
        except BaseException:
            self._desk.disconnect(session)
            raise
        finally:
            self._greeted.pop(session, None)


class _Loader:
    """Reads customers at once."""

    def __init__(self, database: Database, reader: SnapshotReader) -> None:
        self._database = database
        self._reader = reader

    async def load(self, customers: Sequence[str], epochs: Sequence[EpochKey]) -> Loaded:
        return await self._database.read(lambda c: self._reader.load(c, customers, epochs))


class _Receiving:
    """Stands for the task that reads a stream: here, messages come as events."""

    def done(self) -> bool:
        return False


class Serving:
    """One stream as its server sees it: requests one after the other, deliveries beside them."""

    def __init__(self, process: Process, stream: Stream) -> None:
        self._process = process
        self.stream = stream
        self.session: SidecarSession | None = None
        self.deliverer: Deliverer | None = None
        self._inbox: deque[bytes] = deque()
        self._task: Task | None = None
        self._settling: list[Task] = []
        self.heard_ms = process.timeline.now_ms
        self.beat_ms = 0
        self.is_over = False

    def receive(self, message: bytes) -> None:
        self.heard_ms = self._process.timeline.now_ms
        self._inbox.append(message)
        self.work()

    def work(self) -> None:
        """Take requests until one has to wait."""
        while self._inbox and not self.is_over and (self._task is None or self._task.is_done):
            request = pb.SyncRequest.FromString(self._inbox.popleft())
            if self.session is None:
                self._begin(self._greet(request))
            else:
                self._begin(self._take(request, self.session))

    async def _take(self, request: pb.SyncRequest, session: SidecarSession) -> None:
        answering = await self._process.service._take(request, session)
        if answering is not None:
            # What comes behind usage does not wait until that is settled.
            self._settling = [task for task in self._settling if not task.is_done]
            self._settling.append(Task(answering, self._settled, self._soon))

    def _soon(self, step: Callable[[], None]) -> None:
        self._process.schedule(0, step)

    def _settled(self, error: BaseException | None) -> None:
        if error is not None:
            self.end(error)
        self._process.deliver_soon()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        # It may end at once, before there is a task to ask.
        self._task = None
        task = Task(work, self._taken, self._soon)
        self._task = None if task.is_done else task

    def deliver(self) -> None:
        """Send what there is."""
        process, session = self._process, self.session
        if session is None or self.deliverer is None or self.is_over:
            return
        try:
            process.service._is_over(session, _Receiving())  # type: ignore[arg-type]
            while True:
                sent = at_once(self.deliverer.next())
                for delivery in sent:
                    self._send(process.service._stamped(delivery_to_proto(delivery), session))
                if not sent and session.is_initial_complete and not session.outbox:
                    break
                if not sent and session.totals_since is not None:
                    break
            if process.timeline.now_ms >= self.beat_ms:
                self.beat_ms = process.timeline.now_ms + HEARTBEAT_MS
                beat = delivery_to_proto(self.deliverer.beat())
                self._send(process.service._stamped(beat, session))
        except Exception as error:  # noqa: BLE001 (as a server does: the stream ends with it)
            self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """End the stream, and forget it."""
        if self.is_over:
            return
        self.is_over = True
        if error is not None:
            self._process.note_end(self, error)
        for task in (self._task, *self._settling):
            if task is not None:
                task.drop()
        if self.session is not None:
            if self.deliverer is not None:
                self._process.publisher.disconnect(self.session)
            self._process.leases.disconnect(self.session)
        self.stream.close_above()

    def _taken(self, error: BaseException | None) -> None:
        if error is not None:
            self.end(error)
        else:
            self._process.schedule(0, self.work)
        self._process.deliver_soon()

    async def _greet(self, request: pb.SyncRequest) -> None:
        process = self._process
        greeting = greeting_from_proto(request.hello)
        registered = await process.service._register(greeting)
        if isinstance(registered, EpochRefused):
            refused = pb.IdentityRefused(detail=registered.detail)
            self._send(pb.SyncResponse(identity_refused=refused))
            process.schedule(500, self.end)
            return
        if registered.must_start_over:
            greeting = greeting.without_held()
        session = self.session = SidecarSession(greeting, process.now_ms())
        await process.leases.greet(session, greeting.claim)
        process.publisher.connect(session)
        self.deliverer = Deliverer(
            session,
            process.database,
            process.library,
            process.loader,  # type: ignore[arg-type]
            process.now_ms,
        )
        self.beat_ms = process.timeline.now_ms + HEARTBEAT_MS
        self._send(pb.SyncResponse(welcome=process.service._welcome(registered)))

    def _send(self, message: pb.SyncResponse) -> None:
        self.stream.send_down(message.SerializeToString())


class Process:
    """What one process of the control plane has in memory."""

    def __init__(self, node: ControlPlaneNode) -> None:
        self._node = node
        self.timeline, self.database = node.timeline, node.database
        self.now_ms = node.wall_ms
        self.library = provisioning.CatalogLibrary()
        self.notices = ChangeNotices()
        self.registry = SessionRegistry()
        self.publisher = Publisher(
            self.database, self.library, self.notices, self.registry, self.now_ms
        )
        self.queue = SimulatedQueue(self.database, self.library, self.now_ms, Random(1))
        self.queue.on_work = self._pump_soon
        self.queue.on_settled = self._settled
        granter = Granter(Random(node.random.getrandbits(64)), TERMS)
        self.leases = SimulatedLeases(
            LeaseDesk(RECALL_MS), granter, self.queue, lambda: self.timeline.now_ms + 1_000_000
        )
        self.service = SyncService(
            self.database,
            self.library,
            self.publisher,
            Intake(self.queue, self.leases, RateService(RateDesk(TERMS.ttl_ms), self.now_ms)),
            self.now_ms,
            StreamTimes(HEARTBEAT_MS, TERMS.ttl_ms),
        )
        self.loader = _Loader(self.database, SnapshotReader(self.library, self.now_ms))
        self.servings: dict[Stream, Serving] = {}
        self._is_pump_due = self._is_publishing_due = self._is_delivery_due = False
        at_once(self.publisher.start())
        self._poll()

    @property
    def is_alive(self) -> bool:
        return self._node.process is self

    def schedule(self, delay_ms: int, work: Callable[[], None]) -> None:
        """Have something done later, if this process is there then."""
        self._node.schedule(delay_ms, lambda: self._run(work))

    def _run(self, work: Callable[[], None]) -> None:
        if self.is_alive:
            self._node.guard(work)

    def open(self, stream: Stream) -> None:
        self.servings[stream] = Serving(self, stream)

    def deliver_soon(self) -> None:
        if not self._is_delivery_due:
            self._is_delivery_due = True
            self.schedule(self._node.random.randint(0, 10), self._deliver)

    def note_end(self, serving: Serving, error: BaseException) -> None:
        self._node.on_stream_error(serving.stream, error)

    def publish_soon(self) -> None:
        if not self._is_publishing_due:
            self._is_publishing_due = True
            self.schedule(self._node.random.randint(0, 100), self._publish)

    def _pump_soon(self) -> None:
        if not self._is_pump_due:
            self._is_pump_due = True
            self.schedule(self._node.random.randint(0, 8), self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        self.queue.pump()
        self.deliver_soon()

    def _publish(self) -> None:
        self._is_publishing_due = False
        at_once(self.publisher._publish_changes())
        at_once(self.publisher._publish_totals())
        self.deliver_soon()

    def _deliver(self) -> None:
        self._is_delivery_due = False
        for stream, serving in list(self.servings.items()):
            serving.deliver()
            if serving.is_over:
                del self.servings[stream]

    def _poll(self) -> None:
        """Do what goes by time: silence, heartbeats, the desk's tick, looking for changes."""
        self.schedule(500, self._poll)
        silence_ms = HEARTBEAT_MS * SILENT_INTERVALS_MAX
        for serving in list(self.servings.values()):
            if self.timeline.now_ms - serving.heard_ms >= silence_ms:
                serving.end()
        self._pump_soon()
        self.publish_soon()
        self.deliver_soon()

    def _settled(self, settlement: Settlement) -> None:
        self._node.on_settled(settlement)
        self.publisher.usage_settled()
        self.publish_soon()


class ControlPlaneNode:
    """The machine of the control plane: a database that stays, a process that comes and goes."""

    def __init__(self, timeline: Timeline, random: Random, schedule: Schedule) -> None:
        self.timeline = timeline
        self.random = random
        self.schedule = schedule
        self.database = ImmediateDatabase()
        self.step_ms = 0
        self.latest_wall_ms = 0
        self.process: Process | None = None
        self.on_settled: Callable[[Settlement], None] = lambda _settlement: None
        self.on_stream_error: Callable[[Stream, BaseException], None] = lambda *_: None
        self.on_died: Callable[[], None] = lambda: None

    def wall_ms(self) -> int:
        now_ms = BEGAN_MS + self.timeline.now_ms + self.step_ms
        self.latest_wall_ms = max(self.latest_wall_ms, now_ms)
        return now_ms

    def start(self) -> None:
        if self.process is None:
            # Begun before it is there: what it schedules finds itself.
            self.guard(self._start)

    def _start(self) -> None:
        self.process = Process(self)

    def stop(self) -> None:
        """Kill the process: all it had in memory is gone, and its streams with it."""
        process, self.process = self.process, None
        if process is None:
            return
        process.publisher.close()
        for stream, serving in process.servings.items():
            serving.is_over = True
            if serving._task is not None:
                serving._task.drop()
            stream.close_above()

    def guard(self, work: Callable[[], None]) -> None:
        """Run code of the process, which may be killed within."""
        try:
            work()
        except ProcessDiedError:
            self.stop()
            self.on_died()

    def opened(self, stream: Stream) -> None:
        if self.process is None:
            stream.close_above()
        else:
            self.process.open(stream)

    def receive(self, stream: Stream, message: bytes) -> None:
        process = self.process
        if process is None or stream not in process.servings:
            stream.close_above()
            return
        serving = process.servings[stream]
        self.guard(lambda: serving.receive(message))
        if process.is_alive:
            process.deliver_soon()

    def ended(self, stream: Stream) -> None:
        process = self.process
        if process is None:
            return
        serving = process.servings.pop(stream, None)
        if serving is not None:
            serving.end()
