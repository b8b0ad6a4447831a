"""The seam: calls in, answers out, with a real journal under it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from sidecar.core.book import UsageBook
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyTable
from sidecar.core.moment import Moment
from sidecar.journal import DataDirectory, Journal, JournalSettings
from sidecar.replaying import replay_journal
from sidecar.transport.seam import Answer, Call, Method, Pending, Seam, Status
from sidecar.transport.waiting import WaitingCalls
from sidecar.wire.record import decode_record
from tests.sidecar.gate_world import MOMENT, OUTAGE_AFTER_MS, customer, make_gate
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

NOW_MS = MOMENT.now_ms


class Bench:
    """A seam over a journal in a folder, to be closed and opened again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.moment = MOMENT
        self.open()

    def open(self, gate: Gate | None = None, **settings: int) -> None:
        self.directory = DataDirectory(self._folder, NOW_MS)
        self.journal = Journal.open(
            self.directory, JournalSettings(**settings), boot_id="boot", now_ms=NOW_MS
        )
        self.gate = gate or make_gate()
        self.seam = Seam(self.gate, self.journal, lambda: self.moment)
        self.waiting = WaitingCalls(self.seam, self.gate, load_timeout_ms=1000, waiters_max=2)

    def close(self) -> None:
        self.journal.close()
        self.directory.close()

    def one(self, method: Method, message: object, deadline_ms: int | None = None) -> Answer:
        payload = message if isinstance(message, bytes) else message.SerializeToString()  # type: ignore[attr-defined]
        return self.seam.answer([Call(method, payload, deadline_ms)])[0]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def consume(amount: int = 1, key: str = "", **fields: str) -> sidecar_pb.ConsumeRequest:
    return sidecar_pb.ConsumeRequest(
        customer=fields.get("customer", "acme"),
        feature=fields.get("feature", "api.calls"),
        amount=amount,
        idempotency_key=key,
    )


def check(amount: int = 1, customer_id: str = "acme") -> sidecar_pb.CheckRequest:
    return sidecar_pb.CheckRequest(customer=customer_id, feature="api.calls", amount=amount)


def consumed(answer: Answer) -> sidecar_pb.ConsumeResponse:
    assert isinstance(answer, bytes), answer
    return sidecar_pb.ConsumeResponse.FromString(answer)


def checked(answer: Answer) -> pb.Decision:
    assert isinstance(answer, bytes), answer
    return sidecar_pb.CheckResponse.FromString(answer).decision


def test_a_batch_is_one_record_and_every_answer_names_it(bench: Bench) -> None:
    calls = [Call(Method.CONSUME, consume().SerializeToString()) for _ in range(3)]
    answers = [consumed(answer) for answer in bench.seam.answer(calls)]
    assert {answer.receipt.record_number for answer in answers} == {1}
    assert [answer.decision.used for answer in answers] == [1, 2, 3]
    assert bench.journal.next_number == 2
    entries = decode_record(bench.journal.read_at((0, 1))).record.entries
    assert [(entry.amount, entry.calls) for entry in entries] == [(3, 3)]


@pytest.mark.parametrize(
    ("method", "message", "field"),
    [
        (Method.CHECK, sidecar_pb.CheckRequest(feature="f"), "customer: is empty"),
        (Method.CHECK, sidecar_pb.CheckRequest(customer="c"), "feature: is empty"),
        (Method.CHECK, check(-1), "amount: -1 is negative"),
        (Method.CHECK, check(2**62), "amount: 4611686018427387904 is too large"),
        (Method.CHECK, check(customer_id="x" * (1 << 20)), "customer: is not an id"),
        (Method.CONSUME, consume(key="k" * 257), "idempotency_key: has 257 characters"),
        (Method.CONSUME, b"\xff\xff", "request: is not a ConsumeRequest"),
        (
            Method.REPORT,
            sidecar_pb.ReportRequest(customer="c", feature="f", idempotency_scope=99),  # type: ignore[arg-type]
            "idempotency_scope: 99 is not a scope",
        ),
        (
            Method.REPORT,
            sidecar_pb.ReportRequest(customer="c", feature="f", dimensions={"": "x"}),
            "dimensions: is empty",
        ),
        (
            Method.BATCH_CHECK,
            sidecar_pb.BatchCheckRequest(checks=[check(), check(customer_id="")]),
            "checks[1].customer: is empty",
        ),
        (
            Method.BATCH_CHECK,
            sidecar_pb.BatchCheckRequest(checks=[check()] * 1001),
            "checks: has 1001; at most 1000",
        ),
    ],
)
def test_bad_input_names_the_field_and_records_nothing(
    bench: Bench, method: Method, message: object, field: str
) -> None:
    answer = bench.one(method, message)
    assert isinstance(answer, Status)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.detail.startswith(field)
    assert len(answer.detail) < 300
    assert bench.journal.next_number == 1


def test_a_call_whose_deadline_passed_is_not_decided(bench: Bench) -> None:
    late = bench.one(Method.CONSUME, consume(), deadline_ms=MOMENT.boot_ms)
    assert isinstance(late, Status)
    assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert bench.journal.next_number == 1


def test_a_full_journal_refuses_usage_and_charges_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.close()
    bench.open(bytes_max=1 << 20)
    report = sidecar_pb.ReportRequest(
        customer="acme",
        feature="unlimited",
        dimensions={f"d{n}": "x" * 256 for n in range(16)},
    )
    payload = report.SerializeToString()
    answers: list[Answer] = []
    while not answers or isinstance(answers[-1], bytes):
        answers = bench.seam.answer(
            [Call(Method.REPORT, payload)] * 20
            + [Call(Method.CONSUME, consume().SerializeToString())] * 0
            + [Call(Method.CHECK, check().SerializeToString())]
        )[:20]
        assert bench.journal.next_number < 1000
    refused = answers[-1]
    assert isinstance(refused, Status)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    before = bench.journal.next_number
    mixed = bench.seam.answer(
        [
            Call(Method.CONSUME, consume(4).SerializeToString()),
            Call(Method.CHECK, check(5).SerializeToString()),
            *[Call(Method.REPORT, payload)] * 20,
        ]
    )
    assert isinstance(mixed[0], Status)
    # The check was asked again without what could not be written: nothing was charged.
    assert checked(mixed[1]).allowed
    assert bench.journal.next_number == before
    bench.close()


def test_a_key_is_replayed_from_the_journal_after_a_restart(bench: Bench) -> None:
    first = consumed(bench.one(Method.CONSUME, consume(2, key="k")))
    bench.close()
    bench.open()
    replayed = replay_journal(bench.journal, bench.gate, NOW_MS - 900_000, 0)
    assert replayed == 1
    again = consumed(bench.one(Method.CONSUME, consume(2, key="k")))
    assert again.replayed
    assert again.receipt == first.receipt
    other = bench.one(Method.CONSUME, consume(3, key="k"))
    assert isinstance(other, Status)
    assert other.code is grpc.StatusCode.ABORTED
    # Own usage is counted again too: 2 of 5 a day are used.
    assert checked(bench.one(Method.CHECK, check(3))).allowed
    assert not checked(bench.one(Method.CHECK, check(4))).allowed


def test_two_calls_with_one_key_in_a_batch_are_answered_alike(bench: Bench) -> None:
    payload = consume(2, key="k").SerializeToString()
    first, second = bench.seam.answer([Call(Method.CONSUME, payload)] * 2)
    assert consumed(first).receipt == consumed(second).receipt
    assert (consumed(first).replayed, consumed(second).replayed) == (False, True)
    assert checked(bench.one(Method.CHECK, check(3))).allowed


def test_a_call_waits_for_its_customer_and_is_decided_when_it_is_here(bench: Bench) -> None:
    wanted: list[str] = []
    bench.waiting.on_load_wanted = wanted.append
    pending = bench.one(Method.CONSUME, consume(customer="late"))
    assert isinstance(pending, Pending)
    answers: list[bytes | Status] = []
    pending.on_done(answers.append)
    assert wanted == ["late"]
    bench.gate.cache.apply_customer(customer("late"))
    bench.waiting.loaded("late")
    assert consumed(answers[0]).decision.allowed
    assert len(bench.waiting) == 0


def test_waiting_is_bounded_in_number_and_time(bench: Bench) -> None:
    waiting = [bench.one(Method.CHECK, check(customer_id=name)) for name in ("a", "b", "c")]
    assert isinstance(waiting[2], Status)
    assert waiting[2].code is grpc.StatusCode.RESOURCE_EXHAUSTED
    bench.moment = Moment(NOW_MS, MOMENT.boot_ms + 999)
    bench.waiting.tick(bench.moment)
    first = waiting[0]
    assert isinstance(first, Pending)
    assert first.answer is None
    bench.moment = Moment(NOW_MS, MOMENT.boot_ms + 1000)
    bench.waiting.tick(bench.moment)
    assert isinstance(first.answer, Status)
    assert first.answer.code is grpc.StatusCode.UNAVAILABLE


def test_a_waiting_call_that_is_given_up_is_never_charged(bench: Bench) -> None:
    pending = bench.one(Method.CONSUME, consume(customer="late"))
    assert isinstance(pending, Pending)
    bench.waiting.cancel(pending)
    bench.gate.cache.apply_customer(customer("late"))
    bench.waiting.loaded("late")
    assert bench.journal.next_number == 1


def test_when_an_outage_begins_waiting_calls_are_answered_by_policy(bench: Bench) -> None:
    pending = bench.one(Method.CHECK, check(customer_id="late"))
    assert isinstance(pending, Pending)
    bench.moment = Moment(NOW_MS + OUTAGE_AFTER_MS, MOMENT.boot_ms + OUTAGE_AFTER_MS)
    bench.waiting.tick(bench.moment)
    assert isinstance(pending.answer, bytes)
    assert checked(pending.answer).reason == pb.REASON_OUTAGE_POLICY


def test_a_gate_without_room_for_keys_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.gate.keys = KeyTable(1, 900_000)
    bench.gate.book = UsageBook()
    assert consumed(bench.one(Method.CONSUME, consume(key="a"))).receipt.amount == 1
    full = bench.one(Method.CONSUME, consume(key="b"))
    assert isinstance(full, Status)
    assert full.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    bench.close()
