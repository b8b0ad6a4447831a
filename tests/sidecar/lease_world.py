"""A seam over a gate whose features are leased, with a control plane played by the test."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from sidecar.core.asking import LeaseAsking
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.snapshots import Mode
from sidecar.journal import DataDirectory, Journal, JournalSettings
from sidecar.transport.seam import Answer, Call, Method, Pending, Seam
from sidecar.transport.waiting import WaitingCalls
from sidecar.uplink.leasing import LeaseTalk
from sidecar.wire.record import decode_record
from tests.sidecar.gate_world import MOMENT, catalog, make_gate
from weighbridge.rules.catalog import OutageKind, OutagePolicy
from weighbridge.rules.lease import Consistency
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb

TTL_MS = 60_000


def leased_gate(calls: int = 10, version: int = 2) -> Gate:
    """Return the usual gate, with every feature leased and denied in an outage."""
    gate = make_gate(Mode.ALL)
    gate.cache.apply_catalog(leased_catalog(calls, version))
    return gate


def leased_catalog(calls: int, version: int):  # noqa: ANN201 (a Catalog)
    base = catalog(version, calls=calls)
    features = {
        id_: replace(feature, consistency=Consistency.LEASED, outage=OutagePolicy(OutageKind.DENY))
        for id_, feature in base.features.items()
    }
    return replace(base, features=features)


class LeaseWorld:
    """One sidecar's parts; what it sends is read by the test, which answers as it likes."""

    def __init__(self, folder: Path, *, calls: int = 10) -> None:
        self.gate = leased_gate(calls)
        self.directory = DataDirectory(folder, MOMENT.now_ms)
        self.journal = Journal.open(
            self.directory, JournalSettings(), boot_id="boot", now_ms=MOMENT.now_ms
        )
        self.moment = MOMENT
        self.seam = Seam(self.gate, self.journal, lambda: self.moment)
        self.waiting = WaitingCalls(self.seam, self.gate, load_timeout_ms=1_000, waiters_max=10)
        self.asking = LeaseAsking(self.gate.leases)
        self.talk = LeaseTalk(self.gate.leases, self.asking, self.journal)
        self.waiting.on_lease_wanted = self.asking.want
        self.asking.on_answered = self.waiting.leased
        self.granted: Counter[str] = Counter()
        self.begin_stream()

    def close(self) -> None:
        if not self.journal.failure:
            self.journal.close()
        self.directory.close()

    def begin_stream(self) -> pb.Hello:
        hello = pb.Hello()
        self.talk.begin_stream(hello, self.moment.boot_ms)
        self.talk.welcome(TTL_MS, self.moment.boot_ms)
        self.waiting.ask_again()
        return hello

    def consume(self, amount: int = 1, feature: str = "denying", key: str = "") -> Answer:
        request = sidecar_pb.ConsumeRequest(
            customer="acme", feature=feature, amount=amount, idempotency_key=key
        )
        return self.seam.answer([Call(Method.CONSUME, request.SerializeToString())])[0]

    def check(self, amount: int = 1, feature: str = "denying") -> sidecar_pb.CheckResponse:
        request = sidecar_pb.CheckRequest(customer="acme", feature=feature, amount=amount)
        answer = self.seam.answer([Call(Method.CHECK, request.SerializeToString())])[0]
        assert isinstance(answer, bytes)
        return sidecar_pb.CheckResponse.FromString(answer)

    def requests(self) -> list[pb.LeaseRequest]:
        requests = []
        while (message := self.talk.next_request(self.moment.boot_ms)) is not None:
            requests.append(message.lease_request)
        return requests

    def request(self) -> pb.LeaseRequest:
        (request,) = self.requests()
        return request

    def grant(self, request: pb.LeaseRequest, *units: int, limit: int = 10) -> None:
        """Answer a request: so many more units of each pool it names."""
        leases = []
        for number, (want, more) in enumerate(zip(request.wants, units, strict=True), 1):
            name = want.pool.SerializeToString().hex()
            self.granted[name] += more
            leases.append(
                pb.Lease(id=number, pool=want.pool, granted=self.granted[name], limit=limit)
            )
        self.receive(lease_answer=pb.LeaseAnswer(number=request.number, leases=leases))

    def refuse(
        self, request: pb.LeaseRequest, *, available: int = 0, unreachable: int = 0, limit: int = 10
    ) -> None:
        refusals = [
            pb.LeaseRefusal(
                pool=want.pool,
                available=available,
                unreachable=unreachable,
                lapses_in_ms=30_000,
                limit=limit,
            )
            for want in request.wants
        ]
        self.receive(lease_answer=pb.LeaseAnswer(number=request.number, refusals=refusals))

    def receive(self, **message: object) -> None:
        self.talk.receive(pb.SyncResponse(**message), self.moment)  # type: ignore[arg-type]

    def later(self, milliseconds: int, *, is_heard: bool = True) -> None:
        self.moment = Moment(self.moment.now_ms + milliseconds, self.moment.boot_ms + milliseconds)
        if is_heard:
            self.gate.link.heard(self.moment.boot_ms)

    def draws(self) -> Counter[int]:
        """Return what all records drew, by lease."""
        drawn: Counter[int] = Counter()
        for stored in self.journal.read_unsettled((0, 0), 1_000, 1 << 20):
            for draw in decode_record(stored.payload).record.draws:
                drawn[draw.lease] += draw.units
        return drawn


def response(answer: Answer | None) -> sidecar_pb.ConsumeResponse:
    """Return the response to a Consume that was answered, at once or late."""
    if isinstance(answer, Pending):
        answer = answer.answer
    assert isinstance(answer, bytes), answer
    return sidecar_pb.ConsumeResponse.FromString(answer)
