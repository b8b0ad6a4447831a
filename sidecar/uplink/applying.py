"""Applies what the control plane sends: catalogs, customers, totals. Sans-I/O.

A snapshot that cannot be applied is nacked and reported, and the last good one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from sidecar.core.epochs import EpochIndexes, RecordMark
from sidecar.core.gate import Gate
from sidecar.uplink.drafting import DraftApplier
from sidecar.wire.snapshot import SnapshotReader
from weighbridge.rules.catalog import Customer, CustomerStatus
from weighbridge.rules.errors import WeighbridgeError
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb

CATALOG = "catalog"
CUSTOMER = "customer"
ABSENT = "absent"
TOTALS = "totals"
DRAFT = "draft"


KINDS: Final = (CATALOG, CUSTOMER, ABSENT, TOTALS, DRAFT)


class Saved(NamedTuple):
    """Something to keep on disk; its id is unique within the kind."""

    kind: str
    id: str
    version: int
    payload: bytes


class Progress:
    """How far the control plane has been followed: what the next hello says is held."""

    def __init__(self) -> None:
        self.incarnation = ""
        self.revision = 0
        self.usage_revision = 0
        # The newest state of the control plane that anything held was read from.
        self.seen_revision = 0
        self.seen_usage_revision = 0

    def reached(self, revision: int, usage_revision: int) -> None:
        """Note that everything up to these revisions is held."""
        self.revision = max(self.revision, revision)
        self.usage_revision = max(self.usage_revision, usage_revision)

    def saw(self, revision: int, usage_revision: int) -> None:
        """Note that something read at these revisions came."""
        self.seen_revision = max(self.seen_revision, revision)
        self.seen_usage_revision = max(self.seen_usage_revision, usage_revision)


class Applier:
    """Applies messages to the gate and gathers what is to be kept on disk."""

    def __init__(self, gate: Gate, epochs: EpochIndexes) -> None:
        self._gate = gate
        self._epochs = epochs
        self._reader = SnapshotReader()
        self.drafts = DraftApplier(gate, self._reader)
        self.progress = Progress()
        self.unsaved: dict[tuple[str, str], Saved] = {}
        # Whether what is on disk has to go before anything is saved.
        self.is_disk_outdated = False
        # Told of each customer that is here now, or known not to exist.
        self.on_loaded: Callable[[str], None] = _ignore
        # By kind of message: read by the metrics.
        self.applied = 0
        self.nacked = 0

    def apply(self, message: pb.SyncResponse) -> pb.SyncRequest | None:
        """Apply a message; return the ack or nack it calls for."""
        match message.WhichOneof("message"):
            case "catalog":
                return self._apply_catalog(message.catalog)
            case "customer":
                return self._apply_customer(message.customer)
            case "revoked":
                return self._apply_revoked(message.revoked)
            case "unknown":
                self.apply_unknown(message.unknown)
            case "draft" | "draft_removed":
                return self._apply_draft(message)
            case "totals":
                return self._apply_totals(message.totals)
            case "initial_snapshot_complete":
                self._complete(message.initial_snapshot_complete)
            case _:
                pass
        return None

    def start_over(self) -> None:
        """Take what is held for outdated: the control plane was put back to an earlier state.

        Answers go on from it until what is now has come.
        """
        self._gate.cache.outdate()
        self.progress = Progress()
        self.unsaved.clear()
        self.is_disk_outdated = True

    def restore(self, saved: Iterable[Saved]) -> list[tuple[Saved, str]]:
        """Apply what was kept on disk; return what could not be, and why."""
        by_kind: dict[str, list[Saved]] = {kind: [] for kind in KINDS}
        failed: list[tuple[Saved, str]] = []
        for item in saved:
            by_kind[item.kind].append(item)
        _restore_all(by_kind[CATALOG], self._restore_catalog, failed)
        waiting = by_kind[CUSTOMER]
        while held := [item for item in waiting if self._gate.cache.may_hold(item.id)]:
            # Those above a customer may be held because it is.
            waiting = [item for item in waiting if not self._gate.cache.may_hold(item.id)]
            _restore_all(held, self._restore_customer, failed)
        for customer in self._gate.book.unplaced.customers():
            self._gate.place_usage(customer)
        _restore_all(by_kind[ABSENT], self._restore_absent, failed)
        _restore_all(by_kind[TOTALS], self._restore_totals, failed)
        _restore_all(by_kind[DRAFT], self._restore_draft, failed)
        self.unsaved.clear()
        return failed

    def apply_unknown(self, message: pb.CustomerUnknown) -> None:
        """Remember that a customer does not exist."""
        if self._gate.cache.apply_absent(message.customer, message.version):
            self.unsaved.pop((CUSTOMER, message.customer), None)
            self._keep(ABSENT, message.customer, message.version, message.SerializeToString())
        self._changed(message.customer)

    def _complete(self, message: pb.InitialSnapshotComplete) -> None:
        cache = self._gate.cache
        if cache.is_outdated:
            for customer in cache.drop_outdated():
                unknown = pb.CustomerUnknown(customer=customer, version=message.revision)
                self.apply_unknown(unknown)
        cache.is_complete = True
        self.progress.reached(message.revision, message.usage_revision)

    def _apply_catalog(self, message: pb.CatalogSnapshot) -> pb.SyncRequest:
        try:
            is_new = self._gate.cache.apply_catalog(self._reader.catalog_from_proto(message))
        except WeighbridgeError as error:
            self.nacked += 1
            nack = pb.Nack(catalog=message.catalog, version=message.version, detail=str(error))
            return pb.SyncRequest(nack=nack)
        self.applied += 1
        if is_new:
            self._keep(CATALOG, message.catalog, message.version, message.SerializeToString())
            self._gate.on_catalog_changed(message.catalog)
        return pb.SyncRequest(ack=pb.Ack(catalog=message.catalog, version=message.version))

    def _apply_draft(self, message: pb.SyncResponse) -> pb.SyncRequest | None:
        try:
            kept = self.drafts.apply(message)
        except WeighbridgeError as error:
            self.nacked += 1
            draft = message.draft
            nack = pb.Nack(
                catalog=draft.snapshot.catalog, version=draft.number, detail=f"draft: {error}"
            )
            return pb.SyncRequest(nack=nack)
        self._keep(DRAFT, *kept)
        return None

    def _apply_customer(self, message: pb.CustomerSnapshot) -> pb.SyncRequest:
        try:
            customer = self._reader.customer_from_proto(message)
            held = self._gate.cache.held_version(customer.id)
            self._gate.cache.apply_customer(customer)
            if customer.version >= held:
                self._take_totals(customer.id, message.totals, message.included, is_whole=True)
        except WeighbridgeError as error:
            self.nacked += 1
            nack = pb.Nack(customer=message.customer, version=message.version, detail=str(error))
            return pb.SyncRequest(nack=nack)
        self.applied += 1
        if customer.version > held:
            bare = pb.CustomerSnapshot()
            bare.CopyFrom(message)
            bare.ClearField("totals")
            bare.ClearField("included")
            self._keep(CUSTOMER, customer.id, customer.version, bare.SerializeToString())
        self._changed(customer.id)
        return pb.SyncRequest(ack=pb.Ack(customer=customer.id, version=customer.version))

    def _apply_revoked(self, message: pb.CustomerRevoked) -> pb.SyncRequest:
        tombstone = pb.CustomerSnapshot(
            customer=message.customer,
            version=message.version,
            status=types_pb.CUSTOMER_STATUS_REVOKED,
            parent=message.parent,
        )
        customer = Customer(
            message.customer, message.version, CustomerStatus.REVOKED, "", parent=message.parent
        )
        if self._gate.cache.apply_customer(customer):
            payload = tombstone.SerializeToString()
            self._keep(CUSTOMER, message.customer, message.version, payload)
        self.applied += 1
        self._changed(message.customer)
        return pb.SyncRequest(ack=pb.Ack(customer=message.customer, version=message.version))

    def _apply_totals(self, message: pb.CustomerTotals) -> pb.SyncRequest | None:
        try:
            self._take_totals(message.customer, message.totals, message.included, is_whole=False)
        except WeighbridgeError as error:
            self.nacked += 1
            nack = pb.Nack(customer=message.customer, detail=str(error))
            return pb.SyncRequest(nack=nack)
        self._gate.on_changed(message.customer)
        return None

    def _take_totals(
        self,
        customer: str,
        totals: Iterable[pb.WindowTotal],
        included: Iterable[pb.RecordMark],
        *,
        is_whole: bool,
    ) -> None:
        marks = [RecordMark(mark.sidecar_id, mark.epoch, mark.number) for mark in included]
        read = self._reader.totals_from_proto(totals)
        self._gate.book.push(customer, read, self._epochs.included(marks), is_whole=is_whole)
        by_feature: dict[str, pb.CustomerTotals] = {}
        for total in totals:
            row_id = f"{customer}\n{total.resource}\n{total.feature}"
            row = by_feature.get(row_id)
            if row is None:
                row = by_feature[row_id] = pb.CustomerTotals(customer=customer, included=included)
            row.totals.append(total)
        for row_id, row in by_feature.items():
            self._keep(TOTALS, row_id, 0, row.SerializeToString())

    def _restore_catalog(self, item: Saved) -> None:
        message = pb.CatalogSnapshot.FromString(item.payload)
        self._gate.cache.apply_catalog(self._reader.catalog_from_proto(message))

    def _restore_customer(self, item: Saved) -> None:
        # What another mode held may not be held now; that was seen to.
        message = pb.CustomerSnapshot.FromString(item.payload)
        self._gate.cache.apply_customer(self._reader.customer_from_proto(message))

    def _restore_absent(self, item: Saved) -> None:
        message = pb.CustomerUnknown.FromString(item.payload)
        self._gate.cache.apply_absent(message.customer, message.version)

    def _restore_draft(self, item: Saved) -> None:
        self.drafts.restore(item.payload)

    def _restore_totals(self, item: Saved) -> None:
        message = pb.CustomerTotals.FromString(item.payload)
        if self._gate.cache.find(message.customer) is None:
            return
        self._take_totals(message.customer, message.totals, message.included, is_whole=False)

    def _keep(self, kind: str, item_id: str, version: int, payload: bytes) -> None:
        self.unsaved[kind, item_id] = Saved(kind, item_id, version, payload)

    def _changed(self, customer: str) -> None:
        self._gate.place_usage(customer)
        if self._gate.cache.has_children(customer):
            for below in self._gate.book.unplaced.customers():
                self._gate.place_usage(below)
        self.on_loaded(customer)
        self._gate.on_changed(customer)


def _ignore(_customer: str) -> None:
    return


def _restore_all(
    items: Iterable[Saved], restore: Callable[[Saved], None], failed: list[tuple[Saved, str]]
) -> None:
    for item in items:
        try:
            restore(item)
        except (WeighbridgeError, DecodeError) as error:
            failed.append((item, str(error)))
