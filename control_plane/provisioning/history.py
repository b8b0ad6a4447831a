"""The versions of a catalog, and going back to one of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from control_plane.catalog import CatalogChange
from control_plane.provisioning.applying import AppliedCatalog, CatalogSource, apply_catalog
from control_plane.provisioning.catalogs import (
    CatalogLibrary,
    current_edition,
    step_from_row,
    stored_document,
)
from control_plane.provisioning.conflicts import changes_between
from control_plane.provisioning.migrating import ALL_NOW, MigrationChoice
from control_plane.storage.tables import catalog_version, plan_version
from weighbridge.rules.catalog import VersionStep
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import require_id

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
PAGE_SIZE_WITH_CHANGES_MAX: Final = 100
"""Each version of the page is compared with the one before it."""


@dataclass(frozen=True, slots=True)
class PastVersion:
    """One version of a catalog: the plan versions it made, by plan, and what it restored.

    `changes` are those against the version before it, where they were asked for.
    """

    version: int
    applied_at_ms: int
    restores: int | None
    made: tuple[tuple[str, VersionStep], ...]
    changes: tuple[CatalogChange, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions, newest first, and where the next page begins ("" after the last)."""

    versions: tuple[PastVersion, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """The version of a catalog to go back to. No `expected_version`: from any."""

    catalog: str
    version: int
    expected_version: int | None = None
    migrations: MigrationChoice = ALL_NOW


def list_catalog_versions(
    connection: Connection,
    catalog_id: str,
    page_size: int = 0,
    page_token: str = "",
    changes_by: CatalogLibrary | None = None,
) -> VersionPage:
    """Return a page of versions, newest first. A page of size 0 has PAGE_SIZE_DEFAULT.

    With a library to load them by, each says what it changed.
    """
    require_id("catalog", catalog_id)
    size_max = PAGE_SIZE_MAX if changes_by is None else PAGE_SIZE_WITH_CHANGES_MAX
    if not 0 <= page_size <= size_max:
        raise InvalidArgumentError("page_size", f"{page_size} is not 0 to {size_max}")
    newest = current_edition(connection, catalog_id).version
    if page_token:
        newest = min(newest, _number(page_token))
    size = page_size or PAGE_SIZE_DEFAULT
    stored = catalog_version.c
    rows = connection.execute(
        select(stored.version, stored.applied_at_ms, stored.restores)
        .where(stored.catalog_id == catalog_id, stored.version <= newest)
        .order_by(stored.version.desc())
        .limit(size + 1)
    ).all()
    page = rows[:size]
    made = _made(connection, catalog_id, page[-1].version, newest) if page else {}
    versions = tuple(
        PastVersion(
            row.version,
            row.applied_at_ms,
            row.restores,
            tuple(made.get(row.version, ())),
            ()
            if changes_by is None
            else changes_between(connection, changes_by, catalog_id, row.version - 1, row.version),
        )
        for row in page
    )
    return VersionPage(versions, str(rows[size].version) if len(rows) > size else "")


def rollback_catalog(
    connection: Connection, library: CatalogLibrary, rollback: Rollback, now_ms: int
) -> AppliedCatalog:
    """Apply the document of an earlier version again, as a new version.

    Refused like any apply: FailedPreconditionError where something that customers are still on is
    not in it. The same content as now changes nothing.
    """
    require_id("catalog", rollback.catalog)
    if rollback.version < 1:
        raise InvalidArgumentError("version", f"{rollback.version} is not a version; from 1")
    current_edition(connection, rollback.catalog)
    text = stored_document(connection, rollback.catalog, rollback.version)
    source = CatalogSource(
        text, f"version {rollback.version} of {rollback.catalog}", rollback.version
    )
    return apply_catalog(
        connection, library, source, rollback.expected_version, now_ms, rollback.migrations
    )


def _made(
    connection: Connection, catalog_id: str, first: int, last: int
) -> dict[int, list[tuple[str, VersionStep]]]:
    rows = connection.execute(
        select(plan_version)
        .where(
            plan_version.c.catalog_id == catalog_id,
            plan_version.c.catalog_version.between(first, last),
        )
        .order_by(plan_version.c.plan_id)
    )
    made = defaultdict(list)
    for row in rows:
        made[row.catalog_version].append((row.plan_id, step_from_row(row)))
    return made


def _number(page_token: str) -> int:
    if not (page_token.isascii() and page_token.isdigit() and len(page_token) <= 18):  # noqa: PLR2004 - fits 64 bits
        raise InvalidArgumentError("page_token", f"{page_token[:64]!r} is not from a page before")
    return int(page_token)
