"""Usage records: what the journal stores and the control plane gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from sidecar.core.batch import Batch
from sidecar.core.request import DIGEST_SIZE, KeyScope, Kind, UsageEntry
from sidecar.core.reservations import Closing, HeldUnits, Hold, HoldEnd
from weighbridge.rules.credits import Tariff
from weighbridge.v1 import journal_pb2 as journal_pb
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

_KINDS: Final[Mapping[Kind, sync_pb.UsageKind.ValueType]] = {
    Kind.CONSUME: sync_pb.USAGE_KIND_CONSUME,
    Kind.REPORT: sync_pb.USAGE_KIND_REPORT,
    Kind.SETTLE: sync_pb.USAGE_KIND_SETTLE,
}
_HOLD_ENDS: Final[Mapping[HoldEnd, sync_pb.HoldEnd.ValueType]] = {
    HoldEnd.SETTLED: sync_pb.HOLD_END_SETTLED,
    HoldEnd.RELEASED: sync_pb.HOLD_END_RELEASED,
    HoldEnd.EXPIRED: sync_pb.HOLD_END_EXPIRED,
}
_SCOPES: Final[Mapping[KeyScope, pb.IdempotencyScope.ValueType]] = {
    KeyScope.SIDECAR: pb.IDEMPOTENCY_SCOPE_SIDECAR,
    KeyScope.FLEET: pb.IDEMPOTENCY_SCOPE_FLEET,
}


class RecordId(NamedTuple):
    """What identifies a record through every resend."""

    sidecar_id: str
    epoch: str
    number: int


class HoldEnded(NamedTuple):
    """How a hold ended, and what was charged where it expired."""

    customer: str
    reservation: str
    end: HoldEnd
    charged: int


class EncodedRecord(NamedTuple):
    """A record as the journal stores it."""

    payload: bytes
    digest: bytes


def encode_record(identity: RecordId, batch: Batch, answers: Sequence[bytes]) -> EncodedRecord:
    """Encode a batch's record, with the answers to its keyed calls."""
    message = journal_pb.JournalRecord(answers=answers)
    for number, (customer, key, digest) in batch.hold_keys.items():
        message.hold_answers.add(number=number, customer=customer, key=key, payload_digest=digest)
    record = message.record
    for entry in batch.entries:
        _fill_entry(record.entries.add(), entry)
    for lease, units in batch.draws.items():
        if units:
            record.draws.add(lease=lease, units=units)
    for hold in batch.holds.opened:
        _fill_opened(record.holds_opened.add(), hold)
    for closing in batch.holds.closed:
        _fill_closed(record.holds_closed.add(), closing)
    digest = blake2b(record.SerializeToString(deterministic=True), digest_size=DIGEST_SIZE).digest()
    record.sidecar_id = identity.sidecar_id
    record.epoch = identity.epoch
    record.number = identity.number
    record.digest = digest
    return EncodedRecord(message.SerializeToString(), digest)


def decode_record(payload: bytes) -> journal_pb.JournalRecord:
    """Decode what `encode_record` made. The journal has verified its checksum."""
    return journal_pb.JournalRecord.FromString(payload)


def holds_from_proto(
    record: sync_pb.UsageRecord, written_at_ms: int
) -> tuple[list[Hold], list[HoldEnded]]:
    """Return the holds that a record opened and those it closed; their leases have ended since."""
    ends = {number: end for end, number in _HOLD_ENDS.items()}
    return (
        [_opened_from_proto(opened, written_at_ms) for opened in record.holds_opened],
        [
            HoldEnded(each.customer, each.reservation, ends[each.end], each.charged_amount)
            for each in record.holds_closed
        ],
    )


def _opened_from_proto(message: sync_pb.HoldOpened, written_at_ms: int) -> Hold:
    return Hold(
        customer=message.customer,
        reservation=message.reservation,
        resource=message.resource,
        feature=message.feature,
        amount=message.amount,
        opened_at_ms=message.opened_at_unix_ms,
        expires_at_ms=message.expires_at_unix_ms,
        held=tuple(HeldUnits(None, h.lease, h.units, h.units, h.is_credit) for h in message.held),
        tariff=_tariff_from_proto(message.credit) if message.HasField("credit") else None,
        dimensions=tuple(sorted(message.dimensions.items())),
        ancestors=tuple(message.ancestors),
        restated_at_ms=written_at_ms,
        used=message.used_amount,
    )


def _tariff_from_proto(message: sync_pb.CreditTerms) -> Tariff:
    return Tariff(
        message.customer, message.credit_type, message.micro_per_million, not message.is_soft
    )


def _fill_opened(message: sync_pb.HoldOpened, hold: Hold) -> None:
    message.customer = hold.customer
    message.reservation = hold.reservation
    message.resource = hold.resource
    message.feature = hold.feature
    message.amount = hold.amount
    message.opened_at_unix_ms = hold.opened_at_ms
    message.expires_at_unix_ms = hold.expires_at_ms
    message.used_amount = hold.used
    message.ancestors.extend(hold.ancestors)
    message.dimensions.update(hold.dimensions)
    if hold.tariff is not None:
        message.credit.credit_type = hold.tariff.credit_type
        message.credit.customer = hold.tariff.payer
        message.credit.micro_per_million = hold.tariff.micro
        message.credit.is_soft = not hold.tariff.is_hard
    for held in hold.held:
        message.held.add(lease=held.lease_id, units=held.units, is_credit=held.is_credit)


def _fill_closed(message: sync_pb.HoldClosed, closing: Closing) -> None:
    hold = closing.hold
    message.customer = hold.customer
    message.reservation = hold.reservation
    message.end = _HOLD_ENDS[closing.end]
    message.charged_amount = closing.charged
    for held in hold.held:
        message.held.add(lease=held.lease_id, units=held.units, is_credit=held.is_credit)


def _fill_entry(message: sync_pb.UsageEntry, entry: UsageEntry) -> None:
    message.customer = entry.customer
    message.resource = entry.resource
    message.feature = entry.feature
    message.amount = entry.amount
    message.occurred_at_unix_ms = entry.occurred_at_ms
    message.kind = _KINDS[entry.kind]
    message.calls = entry.calls
    message.catalog_version = entry.catalog_version
    message.snapshot_version = entry.snapshot_version
    if entry.key:
        message.idempotency_key = entry.key
        message.idempotency_scope = _SCOPES[entry.scope]
        message.payload_digest = entry.payload_digest
    if entry.dimensions:
        message.dimensions.update(entry.dimensions)
    if entry.credit is not None:
        tariff, micro = entry.credit
        message.credit.credit_type = tariff.credit_type
        message.credit.customer = tariff.payer
        message.credit.micro = micro
    for feature, micros in entry.spent:
        message.spent.add(feature=feature, micros=micros)
