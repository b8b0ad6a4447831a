"""The seam between transports and decisions, for the hot unary methods.

A list of calls (method, bytes, deadline) goes in, a list of answers comes out: bytes, a status, or
a pending answer that is completed later. One list is one batch: its usage is one journal write.
Everything here runs on the thread that owns the gate.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

import grpc

from sidecar.core.batch import Batch, Outcome, Replay, SameAs
from sidecar.core.decided import Decided, NotLeased, NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.request import HoldRequest, Request
from sidecar.core.reserving import HoldOutcome
from sidecar.core.usage import Position
from sidecar.journal import Journal
from sidecar.wire.decision import answer_to_bytes, batch_answer_to_bytes, replayed_answer
from sidecar.wire.record import RecordId, decode_record, encode_record
from sidecar.wire.request import (
    batch_check_from_bytes,
    check_from_bytes,
    consume_from_bytes,
    extend_from_bytes,
    release_from_bytes,
    report_from_bytes,
    reserve_from_bytes,
    settle_from_bytes,
)
from sidecar.wire.reservation import hold_answer_to_bytes, replayed_hold_answer
from weighbridge.rules.errors import UnavailableError, WeighbridgeError
from weighbridge.runtime.status import status_of


class Method(Enum):
    """The hot unary methods, by their name in the service."""

    # Members are single objects; Enum's own hash is a Python call, and this is hot.
    __hash__ = object.__hash__

    CHECK = "Check"
    BATCH_CHECK = "BatchCheck"
    CONSUME = "Consume"
    REPORT = "Report"
    RESERVE = "Reserve"
    EXTEND = "Extend"
    SETTLE = "Settle"
    RELEASE = "Release"


class Call(NamedTuple):
    """One call. `deadline_ms` is on CLOCK_BOOTTIME; None: the caller set none."""

    method: Method
    payload: bytes
    deadline_ms: int | None = None


Wait = NotLoaded | NotLeased
"""What a call waits for."""


class Status(NamedTuple):
    """A call that is answered with an error."""

    code: grpc.StatusCode
    detail: str


class Pending:
    """An answer that is completed later: the call waits for something to come."""

    __slots__ = ("_on_done", "answer", "call", "expires_ms", "wait")

    def __init__(self, call: Call, wait: Wait, expires_ms: int) -> None:
        self.call = call
        self.wait = wait
        self.expires_ms = expires_ms
        self.answer: bytes | Status | None = None
        self._on_done: Callable[[bytes | Status], None] | None = None

    def on_done(self, callback: Callable[[bytes | Status], None]) -> None:
        """Have the callback called with the answer, once."""
        self._on_done = callback
        if self.answer is not None:
            callback(self.answer)

    def complete(self, answer: bytes | Status) -> None:
        """Give the answer."""
        self.answer = answer
        if self._on_done is not None:
            self._on_done(answer)


Answer = bytes | Status | Pending


class _Asked(NamedTuple):
    """A call that was decided: what becomes of it is settled once the record is on disk."""

    place: int
    call: Call
    outcomes: list[Outcome]


HOLDS_PER_RECORD_MAX = 1_000
SETTLE_BYTES = 2_048
"""Room in the journal that each hold keeps free for the record that settles it."""

_EXPIRED = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the decision")


class Seam:
    """Answers calls: parse, decide, journal, encode."""

    def __init__(self, gate: Gate, journal: Journal, moment: Callable[[], Moment]) -> None:
        self._gate = gate
        self._journal = journal
        self._moment = moment
        # Told that a record was written, and what a call waits for.
        self.on_recorded: Callable[[], None] = _nothing
        self.on_wait: Callable[[Call, Wait, Moment], Answer] = _unavailable
        # Calls by method and status: read by the metrics.
        self.calls: Tally[tuple[Method, str]] = Tally()
        self.batches = 0

    def answer(self, calls: Sequence[Call]) -> list[Answer]:
        """Answer a batch of calls, in their order."""
        moment = self._moment()
        answers, asked, batch = self._decide(calls, moment)
        failure: Status | None = None
        keyed: list[bytes] = []
        number = self._journal.next_number
        if not batch.is_empty:
            keyed = self._keyed_answers(asked, number)
            failure = self._write(batch, keyed, moment.now_ms)
        if failure is not None:
            # What was staged is undone, so calls that only ask are asked again without it.
            for item in asked:
                # What was answered before has its record, whatever becomes of this one.
                is_replay = any(isinstance(outcome, Replay) for outcome in item.outcomes)
                answers[item.place] = (
                    self._finish(item, number, keyed, moment) if is_replay else failure
                )
            reading = [i for i in asked if i.call.method in (Method.CHECK, Method.BATCH_CHECK)]
            again = self.answer([item.call for item in reading])
            for item, answer in zip(reading, again, strict=True):
                answers[item.place] = answer
        else:
            for item in asked:
                answers[item.place] = self._finish(item, number, keyed, moment)
        self._count(calls, answers)
        return answers

    def keep_holds(self) -> None:
        """End the holds whose deadline has come, and write again those of long ago."""
        moment = self._moment()
        reservations = self._gate.reservations
        reservations.forget_late(moment.now_ms)
        due, stale = reservations.due(moment.now_ms), reservations.to_restate(moment.now_ms)
        if not due and not stale:
            return
        journal = self._journal
        batch = Batch(self._gate, Position(journal.epoch_index, journal.next_number), moment)
        for hold in due[:HOLDS_PER_RECORD_MAX]:
            batch.holds.expire(hold)
        for hold in stale[:HOLDS_PER_RECORD_MAX]:
            if not hold.expires_at_ms <= moment.now_ms:
                batch.holds.restate(hold)
        # Where it fails, all of it is tried again; until then the units stay held.
        self._write(batch, (), moment.now_ms)

    def _decide(
        self, calls: Sequence[Call], moment: Moment
    ) -> tuple[list[Answer], list[_Asked], Batch]:
        journal = self._journal
        batch = Batch(self._gate, Position(journal.epoch_index, journal.next_number), moment)
        answers: list[Answer] = [_EXPIRED] * len(calls)
        asked: list[_Asked] = []
        for index, call in enumerate(calls):
            if call.deadline_ms is not None and call.deadline_ms <= moment.boot_ms:
                continue
            try:
                outcomes = [
                    batch.decide(request) for request in _PARSERS[call.method](call.payload)
                ]
            except WeighbridgeError as error:
                answers[index] = Status(status_of(error), str(error))
            except Exception:
                # A defect in one call must not leave usage staged that no record will carry.
                batch.rollback()
                raise
            else:
                asked.append(_Asked(index, call, outcomes))
        return answers, asked, batch

    def _keyed_answers(self, asked: Sequence[_Asked], number: int) -> list[bytes]:
        epoch = self._journal.epoch
        answers = []
        for item in asked:
            for outcome in item.outcomes:
                if isinstance(outcome, HoldOutcome):
                    if outcome.keyed is not None:
                        answers.append(hold_answer_to_bytes(outcome, epoch, number))
                elif isinstance(outcome, Decided) and outcome.is_recorded and outcome.request.key:
                    answers.append(answer_to_bytes(outcome, epoch, number))
        return answers

    def _write(self, batch: Batch, keyed: Sequence[bytes], now_ms: int) -> Status | None:
        """Write the batch's record; where that fails, undo the batch and say why."""
        journal = self._journal
        identity = RecordId(journal.sidecar_id, journal.epoch, journal.next_number)
        record = encode_record(identity, batch, keyed)
        try:
            number = journal.append(record.payload, record.digest, now_ms, self._set_aside(batch))
        except WeighbridgeError as error:
            batch.rollback()
            return Status(status_of(error), str(error))
        assert number == identity.number, "the journal numbers records as announced"
        batch.commit()
        self.on_recorded()
        return None

    def _set_aside(self, batch: Batch) -> int:
        """Return how much room a record leaves, so that what is held can be settled."""
        return 0 if batch.holds.closed else len(self._gate.reservations) * SETTLE_BYTES

    def _finish(self, item: _Asked, number: int, keyed: Sequence[bytes], moment: Moment) -> Answer:
        for outcome in item.outcomes:
            if isinstance(outcome, NotLoaded | NotLeased):
                return self.on_wait(item.call, outcome, moment)
        if item.call.method is Method.BATCH_CHECK:
            return batch_answer_to_bytes([o for o in item.outcomes if isinstance(o, Decided)])
        outcome = item.outcomes[0]
        if isinstance(outcome, Decided):
            return answer_to_bytes(outcome, self._journal.epoch, number)
        if isinstance(outcome, HoldOutcome):
            return hold_answer_to_bytes(outcome, self._journal.epoch, number)
        if isinstance(outcome, SameAs):
            return _again(outcome.request, keyed[outcome.number])
        assert isinstance(outcome, Replay)
        return self._replay(outcome)

    def _replay(self, replay: Replay) -> Answer:
        try:
            payload = self._journal.read_at(replay.answer.position)
        except WeighbridgeError as error:
            return Status(status_of(error), str(error))
        answer = decode_record(payload).answers[replay.answer.number]
        return _again(replay.request, answer)

    def _count(self, calls: Sequence[Call], answers: Sequence[Answer]) -> None:
        self.batches += 1
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, bytes):
                self.calls[call.method, "OK"] += 1
            elif isinstance(answer, Status):
                self.calls[call.method, answer.code.name] += 1


def _again(request: Request | HoldRequest, answer: bytes) -> bytes:
    if isinstance(request, HoldRequest):
        return replayed_hold_answer(request.kind, answer)
    return replayed_answer(request.kind, answer)


_Parse = Callable[[bytes], Sequence[Request | HoldRequest]]


def _single(parse: Callable[[bytes], Request | HoldRequest]) -> _Parse:
    return lambda payload: [parse(payload)]


_PARSERS: dict[Method, _Parse] = {
    Method.CHECK: _single(check_from_bytes),
    Method.BATCH_CHECK: batch_check_from_bytes,
    Method.CONSUME: _single(consume_from_bytes),
    Method.REPORT: _single(report_from_bytes),
    Method.RESERVE: _single(reserve_from_bytes),
    Method.EXTEND: _single(extend_from_bytes),
    Method.SETTLE: _single(settle_from_bytes),
    Method.RELEASE: _single(release_from_bytes),
}


def _nothing() -> None:
    return


def _unavailable(_call: Call, wait: Wait, _moment: Moment) -> Answer:
    missing = f"customer: {wait.customer!r} is not" if isinstance(wait, NotLoaded) else "units: not"
    error = UnavailableError(f"{missing} loaded")
    return Status(status_of(error), str(error))
