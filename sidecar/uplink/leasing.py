"""What the stream says of leases: requests up, answers down, and how long leases may be spent."""

from __future__ import annotations

from sidecar.core.asking import Granted, LeaseAnswer, LeaseAsking, LeaseRequest
from sidecar.core.leases import MARGIN_MS, Leases, Refusal, Returned
from sidecar.core.moment import Moment
from sidecar.core.purses import TrancheTerms
from sidecar.journal import Journal
from weighbridge.rules.lease import PoolKey, credit_pool
from weighbridge.rules.ledger import burn_rank
from weighbridge.v1 import sync_service_pb2 as pb


class LeaseTalk:
    """The part of a session that leases need; lives through reconnects."""

    def __init__(self, leases: Leases, asking: LeaseAsking, journal: Journal) -> None:
        self._leases = leases
        self._asking = asking
        self._journal = journal
        self._epoch = journal.epoch
        self._ttl_ms = 0
        self._beats = 0
        # When the hello (number 0) and each heartbeat was sent that is not confirmed so far.
        self._sent_ms: dict[int, int] = {}

    def begin_stream(self, hello: pb.Hello, boot_ms: int) -> None:
        """Say in a hello which leases are held, and where epochs end."""
        if self._journal.epoch != self._epoch:
            # A new identity: what was leased to the one before is not this one's to spend.
            self._epoch = self._journal.epoch
            self._leases.forget_all()
        if boot_ms >= self._leases.term_ends_ms:
            # Somebody else may have been given them meanwhile.
            self._leases.give_back_all()
        self._asking.begin_stream()
        self._beats = 0
        self._sent_ms = {0: boot_ms}
        for pool in self._leases.held():
            returned = Returned(pool.lease_id, pool.returned_for_sure, pool.granted)
            hello.leases.append(_held(returned))
        for epoch in self._journal.epochs():
            hello.written.add(
                sidecar_id=epoch.sidecar_id, epoch=epoch.epoch, number=epoch.last_number
            )
        hello.may_have_lost_records = self._journal.may_have_lost_records

    def welcome(self, ttl_ms: int, boot_ms: int) -> None:
        """Take in how long leases may be spent after what is confirmed: the hello is."""
        self._ttl_ms = ttl_ms
        self._confirm(0, boot_ms)

    def next_beat(self, boot_ms: int) -> int:
        """Return the number of the next heartbeat."""
        self._beats += 1
        self._sent_ms[self._beats] = boot_ms
        return self._beats

    def confirmed(self, number: int, boot_ms: int) -> None:
        """Take in that the term was extended for a heartbeat."""
        if number:
            self._confirm(number, boot_ms)

    def settled(self) -> None:
        """Take in what of this epoch's records is settled by now."""
        current = self._journal.epochs()[-1]
        self._leases.settled(current.settled_number)

    def next_request(self, boot_ms: int) -> pb.SyncRequest | None:
        """Return what to say next; None where there is nothing."""
        request = self._asking.next_request(boot_ms)
        return None if request is None else pb.SyncRequest(lease_request=_request(request))

    def receive(self, message: pb.SyncResponse, moment: Moment) -> None:
        """Take in what the control plane says of leases."""
        match message.WhichOneof("message"):
            case "lease_answer":
                self._answered(message.lease_answer, moment)
            case "lease_recall":
                self._leases.recall(message.lease_recall.leases)
            case _:
                self._asking.lifted([_key_from_proto(p) for p in message.lease_lift.pools])

    def _answered(self, message: pb.LeaseAnswer, moment: Moment) -> None:
        leases = [
            Granted(
                _key_from_proto(lease.pool),
                lease.id,
                lease.granted,
                lease.limit,
                _tranche_from_proto(lease) if lease.HasField("tranche") else None,
            )
            for lease in message.leases
        ]
        refusals = [
            (
                _key_from_proto(refusal.pool),
                Refusal(
                    refusal.available,
                    refusal.unreachable,
                    refusal.limit,
                    moment.boot_ms + refusal.lapses_in_ms,
                    moment.boot_ms + refusal.returns_in_ms if refusal.returns_in_ms else 0,
                ),
            )
            for refusal in message.refusals
        ]
        self._asking.answered(LeaseAnswer(message.number, leases, refusals), moment.boot_ms)

    def _confirm(self, number: int, boot_ms: int) -> None:
        sent_ms = self._sent_ms.get(number)
        if sent_ms is None:
            return
        self._leases.begin_term(sent_ms + self._ttl_ms - MARGIN_MS, boot_ms)
        for earlier in [n for n in self._sent_ms if n <= number]:
            del self._sent_ms[earlier]


def _key_from_proto(pool: pb.LeasePool) -> PoolKey:
    """Return which pool a message names."""
    if pool.credit_type:
        return credit_pool(pool.customer, pool.credit_type, pool.grant)
    return PoolKey(
        pool.customer, pool.resource, pool.feature, pool.limit_id, pool.window_start_unix_ms
    )


def _tranche_from_proto(lease: pb.Lease) -> TrancheTerms:
    """Return when a grant burns."""
    terms = lease.tranche
    expires_at_ms = terms.expires_at_unix_ms if terms.HasField("expires_at_unix_ms") else None
    rank = burn_rank(
        terms.priority, expires_at_ms, terms.effective_at_unix_ms, lease.pool.grant, terms.is_paid
    )
    return TrancheTerms(rank, expires_at_ms)


def _key_to_proto(key: PoolKey) -> pb.LeasePool:
    if key.credit_type:
        return pb.LeasePool(customer=key.customer, credit_type=key.credit_type)
    return pb.LeasePool(
        customer=key.customer,
        resource=key.resource,
        feature=key.feature,
        limit_id=key.limit_id,
        window_start_unix_ms=key.window_start_ms,
    )


def _request(request: LeaseRequest) -> pb.LeaseRequest:
    return pb.LeaseRequest(
        number=request.number,
        returned=[_held(returned) for returned in request.returned],
        wants=[
            pb.LeaseWant(
                pool=_key_to_proto(want.key),
                units_min=want.units_min,
                units=want.units,
                limit=want.limit,
            )
            for want in request.wants
        ],
    )


def _held(returned: Returned) -> pb.HeldLease:
    return pb.HeldLease(
        lease=returned.lease_id,
        returned=returned.units,
        ended=returned.has_ended,
        granted=returned.granted,
    )
