"""Applying a catalog document: what it changes, for whom, and the next immutable version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from control_plane.catalog import (
    CatalogChange,
    CatalogDocument,
    diff_catalogs,
    load_document,
    notices,
)
from control_plane.provisioning.affected import (
    AffectedCustomers,
    Touched,
    affected_customers,
    require_unused,
    touched_by,
    touched_by_all,
)
from control_plane.provisioning.catalogs import CatalogLibrary, catalog_versions
from control_plane.provisioning.conflicts import require_version
from control_plane.provisioning.drafts import remove_draft_like
from control_plane.provisioning.migrating import (
    ALL_NOW,
    MigrationChoice,
    changed_plans,
    require_followers,
    settle_migrations,
)
from control_plane.provisioning.next_version import compile_next
from control_plane.provisioning.revisions import next_revision
from control_plane.storage.tables import catalog, catalog_version, plan_version
from weighbridge.rules.catalog import Catalog, Migration
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.units import require_text

SOURCE_NAME_LENGTH_MAX = 256


class CatalogSource(NamedTuple):
    """A catalog document as YAML text. `name` is for error messages, such as the file's name.

    `restores` is the version of which it is the document, where an earlier one is applied again.
    """

    text: str
    name: str = ""
    restores: int | None = None


@dataclass(frozen=True, slots=True)
class AffectingChange:
    """A difference, and how many customers' entitlements it changes."""

    change: CatalogChange
    customers: int


@dataclass(frozen=True, slots=True)
class CatalogDiff:
    """What a document would change. `current_version` is 0 where the catalog is new.

    `notices` say what of it is kept and not enforced yet.
    """

    catalog: str
    current_version: int
    changes: tuple[AffectingChange, ...]
    affected: AffectedCustomers
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AppliedCatalog:
    """What a document changed. Without changes, `version` is the one there was."""

    catalog: str
    version: int
    changes: tuple[CatalogChange, ...] = ()
    migrations: MigrationChoice = ALL_NOW
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CountedChanges:
    """Changes, and whom they affect."""

    changes: tuple[AffectingChange, ...]
    affected: AffectedCustomers


class _Comparison(NamedTuple):
    """`before` is None where the catalog is new."""

    document: CatalogDocument
    before: Catalog | None
    after: Catalog
    changes: tuple[CatalogChange, ...]
    migrations: MigrationChoice


def diff_catalog(
    connection: Connection,
    library: CatalogLibrary,
    source: CatalogSource,
    now_ms: int,
    migrations: MigrationChoice = ALL_NOW,
) -> CatalogDiff:
    """Compare a document with the current version of its catalog. Changes nothing.

    Raises InvalidArgumentError naming the place in the document, FailedPreconditionError where a
    migration is wanted of a plan that does not change or that nobody follows.
    """
    compared = _compare(connection, library, source, migrations)
    before, after = compared.before, compared.after
    require_followers(connection, before, after, migrations)
    _require_one_default(connection, library, after)
    counted = _count(connection, after.id, compared.changes, migrations, now_ms)
    return CatalogDiff(
        catalog=after.id,
        current_version=0 if before is None else before.version,
        changes=counted.changes,
        affected=counted.affected,
        notices=tuple(notices(after)),
    )


def apply_catalog(
    connection: Connection,
    library: CatalogLibrary,
    source: CatalogSource,
    expected_version: int | None,
    now_ms: int,
    migrations: MigrationChoice = ALL_NOW,
) -> AppliedCatalog:
    """Make a document the current version of its catalog. The same content changes nothing.

    Raises InvalidArgumentError naming the place in the document, ConflictError saying what changed
    unless `expected_version` (None: any; 0: none yet) is current, FailedPreconditionError where
    something that customers are still on would go away, or where a migration is wanted of a plan
    that does not change or that nobody follows.
    """
    compared = _compare(connection, library, source, migrations)
    before, after = compared.before, compared.after
    version = 0 if before is None else before.version
    told = tuple(notices(after))
    # First of all: what another has changed may be why the rest does not pass.
    require_version(connection, library, after.id, expected_version, version)
    require_followers(connection, before, after, migrations)
    _require_one_default(connection, library, after)
    if before is not None:
        remove_draft_like(connection, after)
    if before is not None and not compared.changes:
        return AppliedCatalog(after.id, version, notices=told)
    if before is not None:
        settle_migrations(connection, after.id, now_ms)
        require_unused(connection, library.load(connection, after.id), after, migrations)
    _store(connection, compared, source, now_ms)
    return AppliedCatalog(after.id, after.version, compared.changes, migrations, told)


def count_affected(connection: Connection, applied: AppliedCatalog, now_ms: int) -> CountedChanges:
    """Count whom an apply affects. After its transaction: counting takes as long as they are many.

    Whoever a migration leaves on an older version is not counted, and the plan versions of the
    apply itself hold back nobody who is.
    """
    return _count(connection, applied.catalog, applied.changes, applied.migrations, now_ms)


def _compare(
    connection: Connection,
    library: CatalogLibrary,
    source: CatalogSource,
    migrations: MigrationChoice,
) -> _Comparison:
    require_text("source_name", source.name, SOURCE_NAME_LENGTH_MAX)
    document = load_document(source.text, source.name)
    query = select(catalog.c.id).where(catalog.c.id == document.catalog)
    exists = connection.execute(query).first() is not None
    before = library.load(connection, document.catalog) if exists else None
    after = compile_next(connection, before, document)
    return _Comparison(document, before, after, diff_catalogs(before, after), migrations)


def _require_one_default(connection: Connection, library: CatalogLibrary, after: Catalog) -> None:
    """Refuse a second catalog with a default plan: an id nobody knows would be on both."""
    if not after.default_plan:
        return
    for other in sorted(catalog_versions(connection)):
        if other != after.id and (plan := library.load(connection, other).default_plan):
            raise FailedPreconditionError(
                f"default_plan: catalog {other!r} has the default plan {plan!r}; "
                "only one catalog can have one, so remove that first"
            )


def _count(
    connection: Connection,
    catalog_id: str,
    changes: tuple[CatalogChange, ...],
    migrations: MigrationChoice,
    now_ms: int,
) -> CountedChanges:
    """Count customers per change and for all of them: one query per distinct set touched."""
    found = {Touched(): AffectedCustomers(0, ())}

    def of(touched: Touched) -> AffectedCustomers:
        if touched not in found:
            found[touched] = affected_customers(connection, catalog_id, touched, now_ms)
        return found[touched]

    counted = tuple(
        AffectingChange(change, of(touched_by(change, migrations)).count) for change in changes
    )
    return CountedChanges(counted, of(touched_by_all(changes, migrations)))


def _store(
    connection: Connection, compared: _Comparison, source: CatalogSource, now_ms: int
) -> None:
    after = compared.after
    current = {"current_version": after.version, "addition": 0}
    if compared.before is None:
        connection.execute(insert(catalog).values(id=after.id, **current))
    else:
        connection.execute(update(catalog).where(catalog.c.id == after.id).values(**current))
    connection.execute(
        insert(catalog_version).values(
            catalog_id=after.id,
            version=after.version,
            document=source.text,
            revision=next_revision(connection, now_ms),
            applied_at_ms=now_ms,
            restores=source.restores,
        )
    )
    moved = changed_plans(compared.before, after)
    known = set() if compared.before is None else _numbered_plans(compared.before)
    rows = [
        {
            "catalog_id": after.id,
            "plan_id": plan,
            "version": number,
            "catalog_version": after.version,
            "since_ms": now_ms,
            "migration": migration.value,
            "applied_migration": migration.value,
        }
        for plan, number in sorted(_numbered_plans(after) - known)
        for migration in (compared.migrations.of(plan) if plan in moved else Migration.NOW,)
    ]
    if rows:
        connection.execute(insert(plan_version), rows)


def _numbered_plans(of: Catalog) -> set[tuple[str, int]]:
    return {(plan, number) for plan, versions in of.plans.items() for number in versions}
