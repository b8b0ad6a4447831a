"""The decision alone: Check and Consume through the seam, with a journal on disk, no transport.

What a lease costs shows here undiluted; where calls come over gRPC, that takes most of the time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from bench.failure import BenchError
from control_plane.catalog import compile_catalog, load_document
from sidecar.core.asking import LeaseAsking
from sidecar.core.book import UsageBook
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyTable
from sidecar.core.link import Link
from sidecar.core.moment import Moment
from sidecar.core.snapshots import Mode, SnapshotCache
from sidecar.journal import DataDirectory, Journal, JournalSettings
from sidecar.transport.seam import Call, Method, Pending, Seam
from sidecar.transport.waiting import WaitingCalls
from sidecar.uplink.leasing import LeaseTalk
from weighbridge.rules.catalog import Customer, CustomerStatus, Subscription, SubscriptionStatus
from weighbridge.runtime.clock import boot_ms, wall_ms
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as types_pb

CATALOG: Final = Path(__file__).with_name("catalog.yaml")
CUSTOMER: Final = "customer-0001"
PLAN: Final = "bench"
LEASED: Final = "jobs"
COUNTED: Final = "counted"
CALLS_PER_BATCH: Final = 16
_GRANTED: Final = 1_000_000_000
_LIMIT: Final = 1_000_000_000_000
_TERM_MS: Final = 3_600_000


class Decisions(NamedTuple):
    """Calls per second of one round."""

    check: float
    consume_counted: float
    consume_leased: float


def measure_deciding(directory: Path, rounds: int, calls: int) -> list[Decisions]:
    """Measure each in every round, in turn. Raises BenchError where one is not allowed."""
    with closing(_Parts(directory)) as parts:
        parts.lease()
        parts.run(calls)
        return [parts.run(calls, is_reversed=bool(number % 2)) for number in range(rounds)]


class _Parts:
    """The parts of a sidecar between the transport and the disk."""

    def __init__(self, directory: Path) -> None:
        now_ms = wall_ms()
        self._gate = _gate(now_ms)
        self._directory = DataDirectory(directory, now_ms)
        self._journal = Journal.open(self._directory, JournalSettings(), "boot", now_ms)
        self._seam = Seam(self._gate, self._journal, _moment)
        waiting = WaitingCalls(self._seam, self._gate, load_timeout_ms=1_000, waiters_max=10)
        asking = LeaseAsking(self._gate.leases)
        waiting.on_lease_wanted = asking.want
        asking.on_answered = waiting.leased
        self._talk = LeaseTalk(self._gate.leases, asking, self._journal)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
        self._directory.close()

    def lease(self) -> None:
        """Have more units than any run needs, as a control plane would grant them."""
        self._talk.begin_stream(sync_pb.Hello(), boot_ms())
        self._talk.welcome(_TERM_MS, boot_ms())
        (answer,) = self._seam.answer([_consume(LEASED)])
        message = self._talk.next_request(boot_ms())
        if not isinstance(answer, Pending) or message is None:
            raise BenchError(f"nothing was asked for: {answer}")
        request = message.lease_request
        leases = [
            sync_pb.Lease(id=number, pool=want.pool, granted=_GRANTED, limit=_LIMIT)
            for number, want in enumerate(request.wants, 1)
        ]
        granted = sync_pb.LeaseAnswer(number=request.number, leases=leases)
        self._talk.receive(sync_pb.SyncResponse(lease_answer=granted), _moment())
        if not isinstance(answer.answer, bytes):
            raise BenchError(f"what was granted did not reach the call: {answer.answer}")

    def run(self, calls: int, *, is_reversed: bool = False) -> Decisions:
        """Measure each once."""
        kinds = [_check(LEASED), _consume(COUNTED), _consume(LEASED)]
        order = list(enumerate(kinds))
        rates = [0.0] * len(kinds)
        for place, call in reversed(order) if is_reversed else order:
            rates[place] = self._rate(call, calls)
        return Decisions(*rates)

    def _rate(self, call: Call, calls: int) -> float:
        batch = [call] * CALLS_PER_BATCH
        batches = calls // CALLS_PER_BATCH
        started_s = time.perf_counter()
        for _ in range(batches):
            answers = self._seam.answer(batch)
        rate = batches * CALLS_PER_BATCH / (time.perf_counter() - started_s)
        _require_allowed(call, answers)
        self._forget()
        return rate

    def _forget(self) -> None:
        """Take in that all is settled, so that no round has more to remember than another."""
        number = self._journal.next_number - 1
        if number:
            included = {self._journal.epoch_index: number}
            self._gate.book.settled(included)


def _gate(now_ms: int) -> Gate:
    cache = SnapshotCache(Mode.ALL, 10, frozenset())
    cache.apply_catalog(compile_catalog(load_document(CATALOG.read_text(), CATALOG.name), 1))
    subscription = Subscription(
        "s1", "", PLAN, None, (), SubscriptionStatus.ACTIVE, now_ms, now_ms - 1
    )
    status = CustomerStatus.ACTIVE
    cache.apply_customer(Customer(CUSTOMER, 1, status, "bench", 1, (), (subscription,)))
    link = Link(boot_ms(), _TERM_MS)
    link.is_connected = True
    link.heard(boot_ms())
    return Gate(cache, UsageBook(), KeyTable(100, 900_000), link, admit_unloaded=False)


def _moment() -> Moment:
    return Moment(wall_ms(), boot_ms())


def _check(feature: str) -> Call:
    request = sidecar_pb.CheckRequest(customer=CUSTOMER, feature=feature, amount=1)
    return Call(Method.CHECK, request.SerializeToString())


def _consume(feature: str) -> Call:
    request = sidecar_pb.ConsumeRequest(customer=CUSTOMER, feature=feature, amount=1)
    return Call(Method.CONSUME, request.SerializeToString())


def _require_allowed(call: Call, answers: Sequence[object]) -> None:
    shape = sidecar_pb.CheckResponse if call.method is Method.CHECK else sidecar_pb.ConsumeResponse
    for answer in answers:
        if not isinstance(answer, bytes) or not shape.FromString(answer).decision.allowed:
            raise BenchError(f"a call was not allowed: {answer!r}")
    last = shape.FromString(answers[-1])  # type: ignore[arg-type]
    is_leased = last.decision.decided_by == types_pb.DECIDED_BY_LEASE
    if call == _consume(LEASED) and not is_leased:
        raise BenchError(f"the call was not decided by a lease: {last}")
