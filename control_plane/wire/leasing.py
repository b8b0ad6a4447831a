"""Leases: what streams say of them, protobuf to values and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from control_plane.granting.work import (
    LeaseAnswer,
    LeaseLift,
    LeaseRecall,
    LeaseRequest,
    Want,
)
from control_plane.leasing.accounts import EpochId
from control_plane.leasing.holding import HolderClaim, Returned
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.lease import PoolKey, credit_pool
from weighbridge.rules.ledger import Grant
from weighbridge.rules.units import require_id, require_optional_id
from weighbridge.v1 import sync_service_pb2 as pb

HELD_MAX: Final = 1_000_000
WANTS_MAX: Final = 1_000
WRITTEN_MAX: Final = 10_000


def claim_from_proto(hello: pb.Hello) -> HolderClaim:
    """Read what a hello says of leases. Raises InvalidArgumentError naming the field."""
    if len(hello.written) > WRITTEN_MAX:
        raise InvalidArgumentError("hello.written", f"at most {WRITTEN_MAX} epochs")
    written: dict[EpochId, int] = {}
    for mark in hello.written:
        require_id("hello.written.sidecar_id", mark.sidecar_id)
        require_id("hello.written.epoch", mark.epoch)
        number = _count("hello.written.number", mark.number)
        written[mark.sidecar_id, mark.epoch] = number
    return HolderClaim(
        (hello.sidecar_id, hello.epoch),
        _returned_from_proto("hello.leases", hello.leases),
        written,
        hello.may_have_lost_records,
    )


def lease_request_from_proto(message: pb.LeaseRequest) -> LeaseRequest:
    """Read a request. Raises InvalidArgumentError naming the field."""
    field = "lease_request"
    if len(message.wants) > WANTS_MAX:
        problem = f"has {len(message.wants)}; at most {WANTS_MAX}"
        raise InvalidArgumentError(f"{field}.wants", problem)
    if message.wants and message.number <= 0:
        problem = f"{message.number}; requests that want something count from 1"
        raise InvalidArgumentError(f"{field}.number", problem)
    wants = tuple(_want_from_proto(f"{field}.wants", want) for want in message.wants)
    if len({want.pool for want in wants}) < len(wants):
        raise InvalidArgumentError(f"{field}.wants", "names a pool twice")
    returned = _returned_from_proto(f"{field}.returned", message.returned)
    return LeaseRequest(message.number, returned, wants)


def _want_from_proto(field: str, message: pb.LeaseWant) -> Want:
    key = _key_from_proto(f"{field}.pool", message.pool)
    units_min = _count(f"{field}.units_min", message.units_min)
    units = max(_count(f"{field}.units", message.units), units_min)
    return Want(key, units_min, units, _count(f"{field}.limit", message.limit))


def _key_from_proto(field: str, pool: pb.LeasePool) -> PoolKey:
    customer = require_id(f"{field}.customer", pool.customer)
    if pool.credit_type:
        # Wanted is the balance, whatever the grants.
        return credit_pool(customer, require_id(f"{field}.credit_type", pool.credit_type))
    return PoolKey(
        customer,
        require_optional_id(f"{field}.resource", pool.resource),
        require_id(f"{field}.feature", pool.feature),
        require_id(f"{field}.limit_id", pool.limit_id),
        pool.window_start_unix_ms,
    )


def _returned_from_proto(field: str, held: Iterable[pb.HeldLease]) -> tuple[Returned, ...]:
    read = tuple(
        Returned(
            each.lease,
            _count(f"{field}.returned", each.returned),
            _count(f"{field}.granted", each.granted),
            each.ended,
        )
        for each in held
    )
    if len(read) > HELD_MAX:
        raise InvalidArgumentError(field, f"at most {HELD_MAX}")
    return read


def _count(field: str, number: int) -> int:
    if number < 0:
        raise InvalidArgumentError(field, f"{number} is negative")
    return number


def answer_to_proto(answer: LeaseAnswer) -> pb.SyncResponse:
    """Return the message."""
    message = pb.LeaseAnswer(
        number=answer.number,
        leases=[
            pb.Lease(
                id=lease.id,
                pool=_pool(lease.pool),
                granted=lease.granted,
                limit=lease.limit,
                tranche=None if lease.tranche is None else _tranche(lease.tranche),
            )
            for lease in answer.leases
        ],
        refusals=[
            pb.LeaseRefusal(
                pool=_pool(refusal.pool),
                available=refusal.available,
                unreachable=refusal.unreachable,
                lapses_in_ms=refusal.lapses_in_ms,
                limit=refusal.limit,
                returns_in_ms=refusal.returns_in_ms or 0,
            )
            for refusal in answer.refusals
        ],
    )
    return pb.SyncResponse(lease_answer=message)


def recall_to_proto(recall: LeaseRecall) -> pb.SyncResponse:
    """Return the message."""
    return pb.SyncResponse(lease_recall=pb.LeaseRecall(leases=recall.leases))


def lift_to_proto(lift: LeaseLift) -> pb.SyncResponse:
    """Return the message."""
    pools = [_pool(key) for key in lift.pools]
    return pb.SyncResponse(lease_lift=pb.LeaseLift(pools=pools))


def _tranche(grant: Grant) -> pb.CreditTranche:
    return pb.CreditTranche(
        priority=grant.priority,
        expires_at_unix_ms=grant.expires_at_ms,
        is_paid=grant.is_paid,
        effective_at_unix_ms=grant.effective_at_ms,
    )


def _pool(key: PoolKey) -> pb.LeasePool:
    if key.credit_type:
        return pb.LeasePool(customer=key.customer, credit_type=key.credit_type, grant=key.grant)
    return pb.LeasePool(
        customer=key.customer,
        resource=key.resource,
        feature=key.feature,
        limit_id=key.limit_id,
        window_start_unix_ms=key.window_start_ms,
    )
