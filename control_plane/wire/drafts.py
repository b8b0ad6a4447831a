"""Drafts, as administrators and sidecars get them."""

from __future__ import annotations

from control_plane.provisioning.drafts import CompiledDraft, StoredDraft
from control_plane.wire.snapshots import catalog_to_proto
from weighbridge.v1 import admin_service_pb2, sync_service_pb2


def draft_to_proto(draft: StoredDraft) -> admin_service_pb2.Draft:
    """Return the draft as it was put."""
    return admin_service_pb2.Draft(
        catalog=draft.catalog,
        number=draft.number,
        created_at_unix_ms=draft.created_at_ms,
        document=draft.document,
        source_name=draft.source_name,
    )


def compiled_draft_to_proto(draft: CompiledDraft) -> sync_service_pb2.DraftCatalog:
    """Return the draft as sidecars get it."""
    return sync_service_pb2.DraftCatalog(
        snapshot=catalog_to_proto(draft.catalog), number=draft.number
    )
