"""Takes drafts of catalogs in, apart from the catalogs that decide. Sans-I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sidecar.core.gate import Gate
from sidecar.core.shadow import Shadow
from sidecar.wire.snapshot import SnapshotReader
from weighbridge.v1 import sync_service_pb2 as pb


class KeptDraft(NamedTuple):
    """What to keep on disk of a catalog's draft; an empty payload: that there is none."""

    catalog: str
    number: int
    payload: bytes


class DraftApplier:
    """Puts drafts beside the catalogs of a gate."""

    def __init__(self, gate: Gate, reader: SnapshotReader) -> None:
        self._gate = gate
        self._reader = reader
        # The control plane's time, to say since when a draft is held.
        self.now_ms: Callable[[], int] = _unknown

    def apply(self, message: pb.SyncResponse) -> KeptDraft:
        """Hold a draft, or none. Raises WeighbridgeError; the one held stays."""
        if message.HasField("draft_removed"):
            self._remove(message.draft_removed.catalog)
            return KeptDraft(message.draft_removed.catalog, 0, b"")
        draft = message.draft
        self._hold(draft)
        return KeptDraft(draft.snapshot.catalog, draft.number, draft.SerializeToString())

    def restore(self, payload: bytes) -> None:
        """Hold what was kept on disk. Raises WeighbridgeError or DecodeError."""
        if payload:
            self._hold(pb.DraftCatalog.FromString(payload))

    def _hold(self, draft: pb.DraftCatalog) -> None:
        catalog = self._reader.catalog_from_proto(draft.snapshot)
        if self._gate.shadow is None:
            self._gate.shadow = Shadow()
        self._gate.shadow.put(catalog, draft.number, self.now_ms())

    def _remove(self, catalog: str) -> None:
        shadow = self._gate.shadow
        if shadow is not None:
            shadow.remove(catalog)
            if not shadow:
                self._gate.shadow = None


def _unknown() -> int:
    return 0
