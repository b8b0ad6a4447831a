"""A document as the next version of its catalog."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from control_plane.catalog import CatalogDocument, compile_catalog, next_plan_versions
from control_plane.storage.tables import plan_version
from weighbridge.rules.catalog import Catalog


def compile_next(
    connection: Connection, before: Catalog | None, document: CatalogDocument
) -> Catalog:
    """Compile a document as the version after `before` (None: there is none)."""
    version = 1 if before is None else before.version + 1
    numbers = next_plan_versions(
        before, compile_catalog(document, version), _highest_plan_versions(connection, document)
    )
    return compile_catalog(document, version, numbers)


def _highest_plan_versions(connection: Connection, document: CatalogDocument) -> dict[str, int]:
    """Return the highest number that each plan ever had, removed ones included."""
    query = (
        select(plan_version.c.plan_id, func.max(plan_version.c.version).label("number"))
        .where(plan_version.c.catalog_id == document.catalog)
        .group_by(plan_version.c.plan_id)
    )
    return {row.plan_id: row.number for row in connection.execute(query)}
