"""Usage records, marks and totals: protobuf to values and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from control_plane.crediting import LedgerId
from control_plane.leasing.holds import HoldKey, HoldStep
from control_plane.leasing.settling import Draw
from control_plane.metering.records import (
    CreditCharge,
    EpochKey,
    KeyScope,
    RecordMark,
    UsageEntry,
    UsageKind,
    UsageRecord,
)
from control_plane.metering.totals import WindowTotal
from control_plane.wire.entitlements import window_to_proto
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2

_KINDS: Final[Mapping[int, UsageKind]] = {
    pb.USAGE_KIND_CONSUME: UsageKind.CONSUME,
    pb.USAGE_KIND_REPORT: UsageKind.REPORT,
    pb.USAGE_KIND_SETTLE: UsageKind.SETTLE,
}
_SCOPES: Final[Mapping[int, KeyScope]] = {
    types_pb2.IDEMPOTENCY_SCOPE_UNSPECIFIED: KeyScope.SIDECAR,
    types_pb2.IDEMPOTENCY_SCOPE_SIDECAR: KeyScope.SIDECAR,
    types_pb2.IDEMPOTENCY_SCOPE_FLEET: KeyScope.FLEET,
}


def usage_record_from_proto(message: pb.UsageRecord) -> UsageRecord:
    """Return the record; values not known are None, for the record to be set aside whole."""
    return UsageRecord(
        message.sidecar_id,
        message.epoch,
        message.number,
        message.digest,
        tuple(_entry_from_proto(entry) for entry in message.entries),
        tuple(Draw(draw.lease, draw.units) for draw in message.draws) if message.draws else (),
        _holds_from_proto(message) if message.holds_opened or message.holds_closed else (),
    )


def _holds_from_proto(message: pb.UsageRecord) -> tuple[HoldStep, ...]:
    """Return what became of holds: one that a record both opens and closes ends closed."""
    opened = (
        HoldStep(
            HoldKey(message.sidecar_id, hold.customer, hold.reservation),
            tuple((held.lease, held.units) for held in hold.held),
            hold.expires_at_unix_ms,
        )
        for hold in message.holds_opened
    )
    closed = (
        HoldStep(HoldKey(message.sidecar_id, hold.customer, hold.reservation), ())
        for hold in message.holds_closed
    )
    return (*opened, *closed)


def record_mark_to_proto(mark: RecordMark) -> pb.RecordMark:
    """Return the mark."""
    return pb.RecordMark(sidecar_id=mark.sidecar_id, epoch=mark.epoch, number=mark.number)


def epoch_key_from_proto(mark: pb.RecordMark) -> EpochKey:
    """Return the epoch that a mark is of."""
    return EpochKey(mark.sidecar_id, mark.epoch)


def window_totals_to_proto(totals: Iterable[WindowTotal]) -> list[pb.WindowTotal]:
    """Return the totals."""
    return [
        pb.WindowTotal(
            resource=total.resource,
            feature=total.feature,
            window=window_to_proto(total.window),
            window_start_unix_ms=total.window_start_ms,
            total=total.total,
        )
        for total in totals
    ]


def _credit_from_proto(message: pb.CreditCharge) -> CreditCharge:
    return CreditCharge(LedgerId(message.customer, message.credit_type), message.micro)


def _entry_from_proto(message: pb.UsageEntry) -> UsageEntry:
    return UsageEntry(
        message.customer,
        message.resource,
        message.feature,
        message.amount,
        message.occurred_at_unix_ms,
        _KINDS.get(message.kind),
        message.calls,
        message.idempotency_key,
        _SCOPES.get(message.idempotency_scope),
        message.payload_digest,
        tuple(sorted(message.dimensions.items())) if message.dimensions else (),
        message.catalog_version,
        message.snapshot_version,
        tuple((each.feature, each.micros) for each in message.spent) if message.spent else (),
        _credit_from_proto(message.credit) if message.HasField("credit") else None,
    )
