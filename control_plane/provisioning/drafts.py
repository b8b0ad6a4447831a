"""Drafts: documents that sidecars evaluate beside the live version of their catalog.

A catalog has one draft at most. It is compiled anew for whoever is sent it, against the version
that is live then: as if it were applied, and everybody moved at once who follows a plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select

from control_plane.catalog import CatalogDocument, diff_catalogs, load_document
from control_plane.provisioning.catalogs import CatalogLibrary, current_edition
from control_plane.provisioning.next_version import compile_next
from control_plane.provisioning.revisions import next_revision
from control_plane.storage.tables import catalog_draft
from weighbridge.rules.catalog import Catalog, Migration, VersionStep
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from weighbridge.rules.units import require_id

_DRAFTS: Final = select(catalog_draft.c.catalog_id, catalog_draft.c.number)


@dataclass(frozen=True, slots=True)
class StoredDraft:
    """A draft as it was put. A later one has a higher number."""

    catalog: str
    number: int
    created_at_ms: int
    document: str
    source_name: str


@dataclass(frozen=True, slots=True)
class CompiledDraft:
    """A draft as sidecars get it."""

    catalog: Catalog
    number: int


def store_draft(
    connection: Connection, catalog_id: str, document: str, source_name: str, now_ms: int
) -> StoredDraft:
    """Keep a draft, in place of the one there is. Raises NotFoundError: no such catalog."""
    current_edition(connection, catalog_id)
    draft = StoredDraft(
        catalog_id, next_revision(connection, now_ms), now_ms, document, source_name
    )
    connection.execute(delete(catalog_draft).where(catalog_draft.c.catalog_id == catalog_id))
    connection.execute(
        insert(catalog_draft).values(
            catalog_id=catalog_id,
            number=draft.number,
            created_at_ms=now_ms,
            document=document,
            source_name=source_name,
        )
    )
    return draft


def stored_draft(connection: Connection, catalog_id: str) -> StoredDraft:
    """Return the draft of a catalog. Raises NotFoundError."""
    require_id("catalog", catalog_id)
    draft = _find(connection, catalog_id)
    if draft is None:
        current_edition(connection, catalog_id)
        raise NotFoundError(f"catalog {catalog_id!r} has no draft")
    return draft


def remove_draft(connection: Connection, catalog_id: str) -> StoredDraft:
    """Remove the draft of a catalog, and return it. Raises NotFoundError."""
    draft = stored_draft(connection, catalog_id)
    _delete(connection, catalog_id)
    return draft


def remove_draft_like(connection: Connection, applied: Catalog) -> None:
    """Remove the draft of a catalog where it says the same as what is applied."""
    draft = _find(connection, applied.id)
    if draft is None:
        return
    try:
        document = _read(draft)
    except FailedPreconditionError:
        # Written for another release. It is for whoever put it to look at, not for this apply.
        return
    if not diff_catalogs(applied, compile_next(connection, applied, document)):
        _delete(connection, applied.id)


def draft_numbers(connection: Connection) -> dict[str, int]:
    """Return the number of every draft, by catalog."""
    return {row.catalog_id: row.number for row in connection.execute(_DRAFTS)}


def load_draft(
    connection: Connection, library: CatalogLibrary, catalog_id: str
) -> CompiledDraft | None:
    """Return the draft of a catalog as sidecars get it; None where there is none.

    It carries what the live catalog carries: older plan versions for those who keep them. Raises
    FailedPreconditionError where it cannot be read any more.
    """
    draft = _find(connection, catalog_id)
    if draft is None:
        return None
    before = library.load(connection, catalog_id)
    after = compile_next(connection, before, _read(draft))
    steps = {
        plan: _with_step(of, max(after.plans[plan]), draft.created_at_ms)
        for plan, of in before.steps.items()
        if plan in after.plans
    }
    plans = {plan: {**before.plans.get(plan, {}), **own} for plan, own in after.plans.items()}
    return CompiledDraft(replace(after, plans=plans, steps=steps), draft.number)


def _read(draft: StoredDraft) -> CatalogDocument:
    try:
        return load_document(draft.document, draft.source_name)
    except InvalidArgumentError as error:
        # It was valid when it was put.
        message = f"the draft of catalog {draft.catalog!r} cannot be read: {error}"
        raise FailedPreconditionError(message) from error


def _with_step(
    steps: tuple[VersionStep, ...], version: int, since_ms: int
) -> tuple[VersionStep, ...]:
    if version == steps[-1].version:
        return steps
    return (*steps, VersionStep(version, since_ms, Migration.NOW))


def _find(connection: Connection, catalog_id: str) -> StoredDraft | None:
    query = select(catalog_draft).where(catalog_draft.c.catalog_id == catalog_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _draft_from_row(row)


def _delete(connection: Connection, catalog_id: str) -> None:
    connection.execute(delete(catalog_draft).where(catalog_draft.c.catalog_id == catalog_id))


def _draft_from_row(row: Row[Any]) -> StoredDraft:
    return StoredDraft(row.catalog_id, row.number, row.created_at_ms, row.document, row.source_name)
