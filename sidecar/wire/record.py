"""Usage records: what the journal stores and the control plane gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from sidecar.core.request import DIGEST_SIZE, KeyScope, Kind, UsageEntry
from weighbridge.v1 import journal_pb2 as journal_pb
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

_KINDS: Final[Mapping[Kind, sync_pb.UsageKind.ValueType]] = {
    Kind.CONSUME: sync_pb.USAGE_KIND_CONSUME,
    Kind.REPORT: sync_pb.USAGE_KIND_REPORT,
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


class EncodedRecord(NamedTuple):
    """A record as the journal stores it."""

    payload: bytes
    digest: bytes


def encode_record(
    identity: RecordId,
    entries: Sequence[UsageEntry],
    answers: Sequence[bytes],
    draws: Mapping[int, int],
) -> EncodedRecord:
    """Encode a record with the answers to its keyed entries, and the units drawn by lease."""
    message = journal_pb.JournalRecord(answers=answers)
    record = message.record
    for entry in entries:
        _fill_entry(record.entries.add(), entry)
    for lease, units in draws.items():
        record.draws.add(lease=lease, units=units)
    digest = blake2b(record.SerializeToString(deterministic=True), digest_size=DIGEST_SIZE).digest()
    record.sidecar_id = identity.sidecar_id
    record.epoch = identity.epoch
    record.number = identity.number
    record.digest = digest
    return EncodedRecord(message.SerializeToString(), digest)


def decode_record(payload: bytes) -> journal_pb.JournalRecord:
    """Decode what `encode_record` made. The journal has verified its checksum."""
    return journal_pb.JournalRecord.FromString(payload)


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
