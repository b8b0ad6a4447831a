"""A sidecar: the shipped composition, without servers and event loop, on a disk of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from sidecar.core.moment import Moment
from sidecar.journal import DataDirectory
from sidecar.process import Sidecar
from sidecar.settings import Settings
from sidecar.transport.seam import Answer, Call, Method, Pending, Status
from sidecar.uplink.session import IdentityRefusedError
from tests.simulation.control_plane_node import ControlPlaneNode
from tests.simulation.immediate import at_once
from tests.simulation.machines import Machine, Running, Timeline
from tests.simulation.network import Network, Schedule, Stream
from weighbridge.v1 import sync_service_pb2 as pb

TICK_MS = 200
WELCOME_TIMEOUT_MS = 10_000
SILENT_INTERVALS_MAX = 3
CALL_TIMEOUT_MS = 3_000

OnAnswer = Callable[["SidecarNode", Call, bytes | Status], None]


class SidecarNode:
    """One machine with one sidecar. Everything that happens to it comes in here."""

    def __init__(
        self,
        name: str,
        folder: Path,
        network: Network,
        upper: ControlPlaneNode,
        running: Running,
        parts: tuple[Timeline, Random, Schedule],
    ) -> None:
        self.name = name
        self._folder = folder
        self._network, self._upper, self._running = network, upper, running
        self._timeline, self._random, self._schedule = parts
        self.machine = Machine(self._timeline, self._random)
        self.disks = 0
        # Every epoch that the disk ever had records of.
        self.epochs: set[tuple[str, str]] = set()
        self.sidecar: Sidecar | None = None
        self.stream: Stream | None = None
        self._generation = 0
        self._heard_ms = 0
        self._is_send_due = self._is_pace_due = False
        self.is_cut_off = False
        self.keeps_images = True
        self.is_paused = False
        self._held_back: list[Callable[[], None]] = []
        self.on_answer: OnAnswer = lambda *_: None
        self.after: Callable[[SidecarNode], None] = lambda _node: None
        self.on_expired: Callable[[SidecarNode, int], None] = lambda _node, _number: None
        self.on_synced: Callable[[SidecarNode], None] = lambda _node: None

    # Life

    @property
    def disk(self) -> Path:
        return self._folder / f"{self.name}-{self.disks}"

    @property
    def _image(self) -> Path:
        return self._folder / f"{self.name}-synced"

    @property
    def is_up(self) -> bool:
        return self.sidecar is not None

    @property
    def parts(self) -> Any:
        """The sidecar's private parts."""
        assert self.sidecar is not None, "it is up"
        return self.sidecar

    def start(self) -> None:
        if self.sidecar is not None:
            return
        self._generation += 1
        with self._running.on(self.machine):
            directory = DataDirectory(self.disk, self.machine.wall_ms())
            settings = Settings(
                data_dir=self.disk,
                outage_after_s=5.0,
                load_timeout_ms=CALL_TIMEOUT_MS,
                idempotency_keys_max=100_000,
            )
            self.sidecar = Sidecar(settings, directory)
            parts = self.parts
            parts._keeper._in_thread = _in_this_thread
            parts._session.on_outgoing = self._send_soon
            parts._restore()
            self._note_epoch()
        self._take_image()
        self._later(TICK_MS, self._tick)
        self._later(0, self._connect)
        self._later(self._random.randint(100, 1_500), self._sync)

    def kill(self) -> None:
        """End the process where it is: what it wrote is on the disk, and nothing else."""
        if self.sidecar is None:
            return
        parts, self.sidecar = self.parts, None
        journal = parts._journal
        journal._upkeep.stop()
        journal._connection.close()
        journal._durable.close()
        self._let_go(parts)

    def stop(self) -> None:
        """Stop cleanly."""
        if self.sidecar is None:
            return
        with self._running.on(self.machine):
            parts, self.sidecar = self.parts, None
            at_once(parts._keeper.save())
            parts._journal.close()
        self._let_go(parts)

    def lose_power(self) -> None:
        """Go down with what was not synced; the machine boots anew."""
        self.kill()
        shutil.rmtree(self.disk)
        shutil.copytree(self._image, self.disk)
        self.machine.boot()

    def lose_disk(self) -> None:
        """Go down for good; what comes next under this name is another sidecar."""
        self.kill()
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disks += 1
        self.epochs.clear()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        held_back, self._held_back = self._held_back, []
        for work in held_back:
            work()

    def _let_go(self, parts: Any) -> None:
        self._generation += 1
        self._held_back.clear()
        self.is_paused = False
        self.machine.frozen_boot_ms = None
        parts._keeper.close()
        parts._store.close()
        parts._directory.close()
        self._drop_stream()
        self._is_send_due = self._is_pace_due = False

    # Calls

    def moment(self) -> Moment:
        with self._running.on(self.machine):
            moment: Moment = self.parts._moment()
            return moment

    def call(self, method: Method, request: Any) -> None:
        """Have an application call."""
        self._do(lambda: self._call(method, request.SerializeToString()))

    def call_late(self, method: Method, request: Any) -> None:
        """Have a call decided by a clock that was read now, when the machine goes on."""
        payload, boot_ms = request.SerializeToString(), self.machine.boot_ms()

        def late() -> None:
            self.machine.frozen_boot_ms = boot_ms
            self._call(method, payload)
            self.machine.frozen_boot_ms = None

        if self.is_paused:
            generation = self._generation
            self._held_back.insert(0, lambda: self._alive(generation, lambda: self._do(late)))

    def _call(self, method: Method, payload: bytes) -> None:
        deadline_ms = self.machine.boot_ms() + self._random.choice((500, 3_000))
        call = Call(method, payload, deadline_ms)
        (answer,) = self.parts._seam.answer([call])
        self._take_answer(call, answer)
        self._send_soon()

    def _take_answer(self, call: Call, answer: Answer) -> None:
        if isinstance(answer, Pending):
            answer.on_done(lambda done: self.on_answer(self, call, done))
        else:
            self.on_answer(self, call, answer)

    # The stream

    def receive(self, stream: Stream, message: bytes) -> None:
        self._do(lambda: self._receive(stream, message))

    def ended(self, stream: Stream) -> None:
        self._do(lambda: self._lost(stream))

    def break_stream(self) -> None:
        if self.stream is not None:
            self._do(self._drop_and_connect)

    def _receive(self, stream: Stream, message: bytes) -> None:
        if stream is not self.stream:
            return
        self._heard_ms = self._timeline.now_ms
        parts = self.parts
        try:
            parts._session.receive(pb.SyncResponse.FromString(message), parts._moment())
        except IdentityRefusedError:
            parts._renew_identity()
            self._note_epoch()
            self._drop_and_connect()
        self._send_soon()

    def _connect(self) -> None:
        if self.stream is not None:
            return
        if self.is_cut_off:
            self._later(1_000, self._connect)
            return
        stream = self.stream = Stream(
            self._network, self, self._upper, f"{self.name}/{self._random.getrandbits(32):08x}"
        )
        self._heard_ms = self._timeline.now_ms
        self._upper.opened(stream)
        parts = self.parts
        hello = parts._session.hello(self.machine.boot_id, "1", self.machine.boot_ms())
        stream.send_up(hello.SerializeToString())

    def _lost(self, stream: Stream) -> None:
        if stream is self.stream:
            self._drop_and_connect()

    def _note_epoch(self) -> None:
        journal = self.parts._journal
        self.epochs.add((journal.sidecar_id, journal.epoch))

    def _drop_and_connect(self) -> None:
        self._drop_stream()
        self.parts._session.ended()
        self._later(self._random.randint(50, 1_500), self._connect)

    def _drop_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close_below(loses=self._random.random() < 0.5)

    def _send_soon(self) -> None:
        if not self._is_send_due:
            self._is_send_due = True
            self._later(self._random.randint(0, 5), self._send)
        if not self._is_pace_due and self.parts._journal.unsettled_records:
            self._is_pace_due = True
            self._later(self._random.randint(5, 60), self._pace)

    def _send(self) -> None:
        self._is_send_due = False
        stream = self.stream
        while stream is not None:
            message = self.parts._session.next_message(self.machine.boot_ms())
            if message is None:
                break
            stream.send_up(message.SerializeToString())

    def _pace(self) -> None:
        self._is_pace_due = False
        self.parts._session.usage_due()

    # Time

    def _tick(self) -> None:
        self._later(TICK_MS, self._tick)
        parts = self.parts
        moment = parts._moment()
        parts._waiting.tick(moment)
        parts._tidy_leases(moment)
        number = parts._journal.next_number
        parts._seam.keep_holds()
        if parts._journal.next_number > number:
            self.on_expired(self, number)
        parts._look_after_journal(moment.now_ms)
        self._send_soon()
        self._look_after_stream()
        if self._random.random() < 0.3:
            at_once(parts._keeper.save())

    def _look_after_stream(self) -> None:
        session = self.parts._session
        if self.stream is None:
            return
        silence_ms = self._timeline.now_ms - self._heard_ms
        interval_ms = session.heartbeat_interval_ms
        allowed_ms = interval_ms * SILENT_INTERVALS_MAX if session.is_welcome else None
        if silence_ms >= (allowed_ms or WELCOME_TIMEOUT_MS):
            self._drop_and_connect()
        elif session.is_welcome and self._timeline.now_ms % interval_ms < TICK_MS:
            session.beat(self.machine.boot_ms())

    def _sync(self) -> None:
        self._later(self._random.randint(100, 1_500), self._sync)
        self.parts._journal.flush()
        self._take_image()

    def _take_image(self) -> None:
        """Keep what a power loss would leave."""
        if not self.keeps_images:
            return
        shutil.rmtree(self._image, ignore_errors=True)
        # The index of a log is made anew from it.
        shutil.copytree(self.disk, self._image, ignore=shutil.ignore_patterns("*-shm", "*.sock"))
        self.on_synced(self)

    def _later(self, delay_ms: int, work: Callable[[], None]) -> None:
        generation = self._generation
        self._schedule(delay_ms, lambda: self._alive(generation, lambda: self._do(work)))

    def _alive(self, generation: int, work: Callable[[], None]) -> None:
        if generation == self._generation and self.sidecar is not None:
            with self._running.on(self.machine):
                work()

    def _do(self, work: Callable[[], None]) -> None:
        """Run code of the sidecar, now or when the machine goes on."""
        if self.sidecar is None:
            return
        if self.is_paused:
            generation = self._generation
            self._held_back.append(lambda: self._alive(generation, lambda: self._do(work)))
            return
        with self._running.on(self.machine):
            work()
        self.after(self)


async def _in_this_thread(work: Callable[[], None]) -> None:
    work()
