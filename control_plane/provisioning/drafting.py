"""Putting and showing drafts, each with what applying it would change now."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from control_plane.provisioning.applying import CatalogDiff, CatalogSource, diff_catalog
from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.drafts import StoredDraft, store_draft, stored_draft
from weighbridge.rules.errors import NotFoundError


class ComparedDraft(NamedTuple):
    """A draft, and what applying it would change."""

    draft: StoredDraft
    diff: CatalogDiff


def put_draft(
    connection: Connection, library: CatalogLibrary, source: CatalogSource, now_ms: int
) -> ComparedDraft:
    """Make a document the draft of its catalog, in place of the one there is.

    Raises InvalidArgumentError naming the place in the document, NotFoundError where there is no
    such catalog yet. What would stand in the way of applying it does not stand in its way.
    """
    diff = diff_catalog(connection, library, source, now_ms)
    if not diff.current_version:
        raise NotFoundError(
            f"catalog {diff.catalog!r} does not exist; a draft stands beside a live catalog"
        )
    draft = store_draft(connection, diff.catalog, source.text, source.name, now_ms)
    return ComparedDraft(draft, diff)


def get_draft(
    connection: Connection, library: CatalogLibrary, catalog_id: str, now_ms: int
) -> ComparedDraft:
    """Return the draft of a catalog. Raises NotFoundError."""
    draft = stored_draft(connection, catalog_id)
    source = CatalogSource(draft.document, draft.source_name)
    return ComparedDraft(draft, diff_catalog(connection, library, source, now_ms))
