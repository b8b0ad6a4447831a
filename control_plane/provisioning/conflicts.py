"""Two people at one catalog: the second is told what the first changed."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from control_plane.catalog import CatalogChange, ChangeKind, diff_catalogs
from control_plane.provisioning.catalogs import CatalogLibrary
from weighbridge.rules.errors import ConflictError, InvalidArgumentError

CHANGES_NAMED_MAX: Final = 5
VALUE_LENGTH_MAX: Final = 40

_MARKS: Final = {ChangeKind.ADDED: "added", ChangeKind.REMOVED: "removed"}


def changes_between(
    connection: Connection, library: CatalogLibrary, catalog_id: str, first: int, last: int
) -> tuple[CatalogChange, ...]:
    """Compare two versions of a catalog as they were applied; `first` is 0 before there was any."""
    before = library.load(connection, catalog_id, first) if first else None
    return diff_catalogs(before, library.load(connection, catalog_id, last))


def require_version(
    connection: Connection,
    library: CatalogLibrary,
    catalog_id: str,
    expected: int | None,
    current: int,
) -> None:
    """Raise ConflictError unless the current version (0: none) is the expected one (None: any)."""
    if expected is None or expected == current:
        return
    if expected < 0:
        raise InvalidArgumentError("expected_version", f"{expected} is negative")
    said = f"catalog {catalog_id!r} is at version {current} now, not {expected}"
    if expected < current:
        changes = changes_between(connection, library, catalog_id, expected, current)
        said += f"; since then {_summary(changes)} (weighbridge catalog history {catalog_id}"
        said += " --changes shows all)"
    raise ConflictError(f"{said}; nothing was applied: compare with it, then apply again")


def _summary(changes: tuple[CatalogChange, ...]) -> str:
    if not changes:
        return "it was changed and changed back"
    named = [_text(change) for change in changes[:CHANGES_NAMED_MAX]]
    if len(changes) > len(named):
        named.append(f"{len(changes) - len(named)} more changes")
    return ", ".join(named)


def _text(change: CatalogChange) -> str:
    if change.kind is ChangeKind.CHANGED:
        return f"{change.path} changed from {_short(change.before)} to {_short(change.after)}"
    return f"{change.path} was {_MARKS[change.kind]}"


def _short(value: str) -> str:
    # What an error may say is bounded by what fits into a header of the answer.
    return value if len(value) <= VALUE_LENGTH_MAX else f"{value[:VALUE_LENGTH_MAX]}..."
