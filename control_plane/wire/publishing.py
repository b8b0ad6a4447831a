"""What passes on a sidecar's stream: greetings in, deliveries out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from control_plane.granting.work import LeaseAnswer, LeaseLift, LeaseRecall, RateSharesTold
from control_plane.metering.records import EpochKey
from control_plane.provisioning.drafts import CompiledDraft
from control_plane.publishing.delivery import (
    Beat,
    Delivery,
    InitialComplete,
    NoDraft,
    Unknown,
    WholeCustomer,
)
from control_plane.publishing.incarnations import Seen
from control_plane.publishing.outbox import Revoked, Totals, UsageSetAside, UsageSettled
from control_plane.publishing.sessions import Greeting, Interest, Refused, SidecarSession
from control_plane.wire.drafts import compiled_draft_to_proto
from control_plane.wire.leasing import (
    answer_to_proto,
    claim_from_proto,
    lift_to_proto,
    recall_to_proto,
)
from control_plane.wire.rate_sharing import held_shares_from_proto, shares_to_proto
from control_plane.wire.snapshots import catalog_to_proto, customer_to_proto
from control_plane.wire.usage import (
    epoch_key_from_proto,
    record_mark_to_proto,
    window_totals_to_proto,
)
from weighbridge.rules.catalog import Catalog, Edition
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import require_id, require_optional_id, require_text
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import sync_service_pb2 as pb

HELD_MAX: Final = 1_000_000
EPOCHS_MAX: Final = 10_000
VERSION_LENGTH_MAX: Final = 128

_INTERESTS: Final[Mapping[pb.SubscriptionMode.ValueType, Interest]] = {
    pb.SUBSCRIPTION_MODE_ALL: Interest.ALL,
    pb.SUBSCRIPTION_MODE_LISTED: Interest.LISTED,
    pb.SUBSCRIPTION_MODE_ON_DEMAND: Interest.ON_DEMAND,
}
_MODES: Final[Mapping[Interest, pb.SubscriptionMode.ValueType]] = {
    interest: mode for mode, interest in _INTERESTS.items()
}


def greeting_from_proto(hello: pb.Hello) -> Greeting:
    """Read a hello. Raises InvalidArgumentError naming the field."""
    interest = _INTERESTS.get(hello.mode)
    if interest is None:
        raise InvalidArgumentError("hello.mode", f"{hello.mode} is not a subscription mode")
    if len(hello.acknowledged) > EPOCHS_MAX:
        raise InvalidArgumentError("hello.acknowledged", f"at most {EPOCHS_MAX} epochs")
    for mark in hello.acknowledged:
        require_id("hello.acknowledged.sidecar_id", mark.sidecar_id)
        require_id("hello.acknowledged.epoch", mark.epoch)
    own = EpochKey(
        require_id("hello.sidecar_id", hello.sidecar_id), require_id("hello.epoch", hello.epoch)
    )
    if hello.predecessor_epoch == hello.epoch:
        raise InvalidArgumentError("hello.predecessor_epoch", "is the epoch itself")
    epochs = dict.fromkeys(epoch_key_from_proto(mark) for mark in hello.acknowledged)
    return Greeting(
        sidecar_id=own.sidecar_id,
        epoch=own.epoch,
        predecessor=require_optional_id("hello.predecessor_epoch", hello.predecessor_epoch),
        boot_id=require_optional_id("hello.boot_id", hello.boot_id),
        software_version=require_text(
            "hello.software_version", hello.software_version, VERSION_LENGTH_MAX
        ),
        interest=interest,
        customers=held_from_proto("hello.customers", hello.customers),
        catalogs=_editions_from_proto("hello.catalogs", hello.catalogs),
        held_revision=_version("hello.held_revision", hello.held_revision),
        held_usage_revision=_version("hello.held_usage_revision", hello.held_usage_revision),
        epochs=(*(key for key in epochs if key != own), own),
        claim=claim_from_proto(hello),
        rate_shares=held_shares_from_proto(hello.rate_shares),
        drafts=tuple(held_from_proto("hello.drafts", hello.drafts)),
        seen=Seen(
            require_optional_id("hello.incarnation", hello.incarnation),
            _version("hello.seen_revision", hello.seen_revision),
            _version("hello.seen_usage_revision", hello.seen_usage_revision),
        ),
    )


def held_from_proto(field: str, held: Iterable[pb.HeldVersion]) -> dict[str, int]:
    """Read versions held, by id. Raises InvalidArgumentError naming the field."""
    read = {
        require_id(f"{field}.id", item.id): _version(f"{field}.version", item.version)
        for item in held
    }
    if len(read) > HELD_MAX:
        raise InvalidArgumentError(field, f"at most {HELD_MAX}")
    return read


def _editions_from_proto(field: str, held: Iterable[pb.HeldVersion]) -> dict[str, Edition]:
    items = list(held)
    additions = {item.id: _version(f"{field}.addition", item.addition) for item in items}
    versions = held_from_proto(field, items)
    return {id_: Edition(version, additions[id_]) for id_, version in versions.items()}


def _version(field: str, version: int) -> int:
    if version < 0:
        raise InvalidArgumentError(field, f"{version} is negative; 0 is none")
    return version


def refused_from_proto(nack: pb.Nack) -> Refused:
    """Read a nack."""
    return Refused(nack.catalog, nack.customer, nack.version, nack.detail)


def delivery_to_proto(delivery: Delivery) -> pb.SyncResponse:
    """Return the message."""
    return _MESSAGES[type(delivery)](delivery)


def session_to_proto(session: SidecarSession) -> admin_pb.ConnectedSidecar:
    """Return what administration is told of a connected sidecar."""
    greeting = session.greeting
    return admin_pb.ConnectedSidecar(
        sidecar_id=greeting.sidecar_id,
        epoch=greeting.epoch,
        software_version=greeting.software_version,
        mode=_MODES[greeting.interest],
        customers=len(session.customers),
        connected_at_unix_ms=session.connected_at_ms,
        nacks=[
            pb.Nack(catalog=nack.catalog, version=nack.version, detail=nack.detail)
            if nack.catalog
            else pb.Nack(customer=nack.customer, version=nack.version, detail=nack.detail)
            for nack in session.nacks
        ],
    )


def _totals_to_proto(delivery: Totals) -> pb.CustomerTotals:
    return pb.CustomerTotals(
        customer=delivery.customer,
        totals=window_totals_to_proto(delivery.totals),
        included=[record_mark_to_proto(mark) for mark in delivery.included],
        usage_revision=delivery.usage_revision,
    )


def _whole_to_proto(delivery: WholeCustomer) -> pb.CustomerSnapshot:
    message = customer_to_proto(delivery.customer)
    message.totals.extend(window_totals_to_proto(delivery.totals))
    message.included.extend(record_mark_to_proto(mark) for mark in delivery.included)
    return message


def _settled_to_proto(delivery: UsageSettled) -> pb.SyncResponse:
    mark = record_mark_to_proto(delivery.mark)
    ack = pb.UsageAck(mark=mark, usage_revision=delivery.usage_revision)
    return pb.SyncResponse(usage_ack=ack)


def _set_aside_to_proto(delivery: UsageSetAside) -> pb.SyncResponse:
    report = delivery.report
    aside = pb.UsageSetAside(mark=record_mark_to_proto(report.mark), detail=report.detail)
    return pb.SyncResponse(usage_set_aside=aside)


def _revoked_to_proto(delivery: Revoked) -> pb.SyncResponse:
    revoked = pb.CustomerRevoked(
        customer=delivery.customer, version=delivery.version, parent=delivery.parent
    )
    return pb.SyncResponse(revoked=revoked)


def _unknown_to_proto(delivery: Unknown) -> pb.SyncResponse:
    unknown = pb.CustomerUnknown(customer=delivery.customer, version=delivery.version)
    return pb.SyncResponse(unknown=unknown)


def _complete_to_proto(delivery: InitialComplete) -> pb.SyncResponse:
    complete = pb.InitialSnapshotComplete(
        revision=delivery.revision, usage_revision=delivery.usage_revision
    )
    return pb.SyncResponse(initial_snapshot_complete=complete)


def _beat_to_proto(delivery: Beat) -> pb.SyncResponse:
    heartbeat = pb.Heartbeat(
        control_plane_now_unix_ms=delivery.now_ms,
        revision=delivery.revision,
        usage_revision=delivery.usage_revision,
        number=delivery.number,
    )
    return pb.SyncResponse(heartbeat=heartbeat)


_MESSAGES: Final[Mapping[type, Callable[[Any], pb.SyncResponse]]] = {
    LeaseAnswer: answer_to_proto,
    LeaseRecall: recall_to_proto,
    LeaseLift: lift_to_proto,
    RateSharesTold: shares_to_proto,
    UsageSettled: _settled_to_proto,
    UsageSetAside: _set_aside_to_proto,
    Revoked: _revoked_to_proto,
    Totals: lambda totals: pb.SyncResponse(totals=_totals_to_proto(totals)),
    WholeCustomer: lambda whole: pb.SyncResponse(customer=_whole_to_proto(whole)),
    Catalog: lambda catalog: pb.SyncResponse(catalog=catalog_to_proto(catalog)),
    CompiledDraft: lambda draft: pb.SyncResponse(draft=compiled_draft_to_proto(draft)),
    NoDraft: lambda none: pb.SyncResponse(draft_removed=pb.DraftRemoved(catalog=none.catalog)),
    Unknown: _unknown_to_proto,
    InitialComplete: _complete_to_proto,
    Beat: _beat_to_proto,
}
