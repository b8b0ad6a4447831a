"""Exports and external ids ⇄ protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.exporters.items import Item, ItemState
from control_plane.exporters.queue import ExportStatus
from control_plane.importers.customers import WantedCustomer
from control_plane.importers.events import EventState, KnownEvent
from control_plane.provisioning.external_ids import ExternalId
from control_plane.wire.entitlements import wanted_entitlement_from_proto
from control_plane.wire.enums import enum_from_proto
from control_plane.wire.snapshots import subscribed_add_on_from_proto
from weighbridge.v1 import integration_service_pb2 as pb

STATES: Final[Mapping[ItemState, pb.ExportItemState.ValueType]] = {
    ItemState.PENDING: pb.EXPORT_ITEM_STATE_PENDING,
    ItemState.SENT: pb.EXPORT_ITEM_STATE_SENT,
    ItemState.REFUSED: pb.EXPORT_ITEM_STATE_REFUSED,
    ItemState.UNCLEAR: pb.EXPORT_ITEM_STATE_UNCLEAR,
}

EVENT_STATES: Final[Mapping[EventState, pb.ImportedEventState.ValueType]] = {
    EventState.APPLIED: pb.IMPORTED_EVENT_STATE_APPLIED,
    EventState.IGNORED: pb.IMPORTED_EVENT_STATE_IGNORED,
    EventState.SET_ASIDE: pb.IMPORTED_EVENT_STATE_SET_ASIDE,
}


def event_state_from_proto(number: pb.ImportedEventState.ValueType) -> EventState | None:
    """Return a state, None for any. Raises InvalidArgumentError."""
    return enum_from_proto("state", EVENT_STATES, number) if number else None


def event_to_proto(known: KnownEvent) -> pb.ImportedEvent:
    """Return an event that came."""
    return pb.ImportedEvent(
        source=known.event.source,
        id=known.event.id,
        type=known.event.type,
        customer=known.taken.customer,
        created_at_unix_ms=known.event.created_at_ms,
        received_at_unix_ms=known.received_at_ms,
        state=EVENT_STATES[known.taken.state],
        reason=known.taken.reason,
    )


def wanted_customer_from_proto(row: pb.CustomerRow) -> WantedCustomer:
    """Return a customer as it is to be. Raises InvalidArgumentError."""
    add_ons = None
    if row.HasField("add_ons"):
        add_ons = tuple(map(subscribed_add_on_from_proto, row.add_ons.add_ons))
    return WantedCustomer(
        line=row.line,
        customer=row.customer,
        name=row.name,
        catalog=row.catalog,
        plan=row.plan,
        add_ons=add_ons,
        seats=row.seats if row.HasField("seats") else None,
        external_ids=tuple(sorted(row.external_ids.items())),
        overrides=tuple(
            wanted_entitlement_from_proto(f"line {row.line}: overrides[{index}]", each)
            for index, each in enumerate(row.overrides)
        ),
    )


def state_from_proto(number: pb.ExportItemState.ValueType) -> ItemState | None:
    """Return a state, None for any. Raises InvalidArgumentError."""
    return enum_from_proto("state", STATES, number) if number else None


def status_to_proto(status: ExportStatus, kind: str) -> pb.Exporter:
    """Return how far an exporter is."""
    return pb.Exporter(
        id=status.exporter,
        kind=kind,
        pending=status.counts[ItemState.PENDING],
        sent=status.counts[ItemState.SENT],
        refused=status.counts[ItemState.REFUSED],
        unclear=status.counts[ItemState.UNCLEAR],
        pending_quantity=status.quantity_pending,
        oldest_pending_unix_ms=status.oldest_pending_ms,
        last_error=status.last_error,
    )


def item_to_proto(item: Item) -> pb.ExportItem:
    """Return an item."""
    return pb.ExportItem(
        identifier=item.identifier,
        meter=item.meter,
        customer=item.customer,
        resource=item.resource,
        dimensions=dict(item.dimensions),
        window_start_unix_ms=item.window_start_ms,
        window_end_unix_ms=item.window_end_ms,
        quantity=item.quantity,
        state=STATES[item.state],
        attempts=item.attempts,
        error=item.error,
    )


def external_id_from_proto(message: pb.ExternalId) -> ExternalId:
    """Return what a customer is to be called."""
    return ExternalId(message.customer, message.system, message.external_id)


def external_id_to_proto(found: ExternalId) -> pb.ExternalId:
    """Return what a customer is called."""
    return pb.ExternalId(
        customer=found.customer, system=found.system, external_id=found.external_id
    )
