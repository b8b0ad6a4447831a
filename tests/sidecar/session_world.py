"""A session, and the other side played by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sidecar.core.asking import LeaseAsking
from sidecar.core.clock import ControlPlaneClock
from sidecar.core.epochs import EpochId, EpochIndexes
from sidecar.core.gate import Gate
from sidecar.journal import DataDirectory, Journal, JournalSettings
from sidecar.transport.seam import Call, Method, Seam
from sidecar.uplink.applying import Applier
from sidecar.uplink.leasing import LeaseTalk
from sidecar.uplink.sending import UsageSending
from sidecar.uplink.session import Session
from tests.sidecar.gate_world import MOMENT
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb

MONTH = types_pb.Window(
    kind=types_pb.WINDOW_KIND_CALENDAR, period=types_pb.WINDOW_PERIOD_MONTH, time_zone="UTC"
)


class Bench:
    """A session, and the other side played by the test."""

    def __init__(self, folder: Path, gate: Gate) -> None:
        self.gate = gate
        self.directory = DataDirectory(folder, MOMENT.now_ms)
        self.journal = Journal.open(
            self.directory, JournalSettings(), boot_id="boot", now_ms=MOMENT.now_ms
        )
        epochs = EpochIndexes(
            lambda: [(EpochId(e.sidecar_id, e.epoch), e.epoch_index) for e in self.journal.epochs()]
        )
        self.applier = Applier(gate, epochs)
        sending = UsageSending(self.journal, gate.book)
        self.clock = ControlPlaneClock(MOMENT.boot_ms, 0)
        talk = LeaseTalk(gate.leases, LeaseAsking(gate.leases), self.journal)
        self.session = Session(gate, self.journal, self.applier, sending, talk, self.clock)
        self.seam = Seam(gate, self.journal, lambda: MOMENT)

    def receive(self, **message: object) -> None:
        self.session.receive(pb.SyncResponse(**message), MOMENT)  # type: ignore[arg-type]

    def sent(self) -> list[pb.SyncRequest]:
        messages = []
        while (message := self.session.next_message(MOMENT.boot_ms)) is not None:
            messages.append(message)
        return messages

    def welcome(self, settled: int = 0, **fields: Any) -> None:
        self.session.hello("boot", "1", MOMENT.boot_ms)
        self.receive(
            welcome=pb.Welcome(
                control_plane_now_unix_ms=MOMENT.now_ms,
                heartbeat_interval_ms=1000,
                settled=[self.mark(settled)],
                **fields,
            )
        )

    def mark(self, number: int) -> pb.RecordMark:
        return pb.RecordMark(
            sidecar_id=self.journal.sidecar_id, epoch=self.journal.epoch, number=number
        )

    def consume(self, amount: int = 1) -> None:
        request = sidecar_pb.ConsumeRequest(customer="acme", feature="api.calls", amount=amount)
        self.seam.answer([Call(Method.CONSUME, request.SerializeToString())])

    def close(self) -> None:
        self.journal.close()
        self.directory.close()
