"""Incarnations: one per start of the control plane, so that a restored database is noticed.

A database that is put back to an earlier state goes on from there with revisions that were given
before. A sidecar says under which incarnation it was last welcomed, and up to which revisions it
has seen; it holds what was undone where this history has no such incarnation, or where the next
one began before what the sidecar has seen.
"""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select

from control_plane.metering.totals import current_usage_revision
from control_plane.provisioning import current_revision
from control_plane.storage.tables import incarnation

INCARNATIONS_MAX: Final = 10_000
"""How many are kept. To a sidecar that was away for longer everything is sent anew."""

_ID_BYTES: Final = 16


class Seen(NamedTuple):
    """The last incarnation that welcomed a sidecar ("": none), and the newest it has seen."""

    incarnation: str = ""
    revision: int = 0
    usage_revision: int = 0


def begin_incarnation(connection: Connection, now_ms: int) -> str:
    """Begin the next one, and return its id. Only for a process that has the database alone."""
    table = incarnation.c
    id_ = secrets.token_hex(_ID_BYTES)
    number: int = connection.execute(
        insert(incarnation)
        .values(
            id=id_,
            revision=current_revision(connection),
            usage_revision=current_usage_revision(connection),
            began_at_ms=now_ms,
        )
        .returning(table.number)
    ).scalar_one()
    connection.execute(delete(incarnation).where(table.number <= number - INCARNATIONS_MAX))
    return id_


def is_undone(connection: Connection, seen: Seen) -> bool:
    """Whether some of what a sidecar has seen is not part of this database's history."""
    if not seen.incarnation:
        return False
    table = incarnation.c
    number = connection.scalar(select(table.number).where(table.id == seen.incarnation))
    if number is None:
        return True
    following = connection.execute(
        select(table.revision, table.usage_revision)
        .where(table.number > number)
        .order_by(table.number)
        .limit(1)
    ).one_or_none()
    return following is not None and (
        seen.revision > following.revision or seen.usage_revision > following.usage_revision
    )
