"""The environment's revision: every change to a catalog or customer takes the next one."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Connection, bindparam, insert, select, update

from control_plane.storage.tables import environment


def current_revision(connection: Connection) -> int:
    """Return the revision of the last change; 0 where nothing was ever changed."""
    return connection.execute(_CURRENT).scalar_one_or_none() or 0


def next_revision(connection: Connection, now_ms: int) -> int:
    """Take the next revision: whoever else takes one waits until the transaction ends."""
    return next_revisions(connection, 1, now_ms)


def next_revisions(connection: Connection, count: int, now_ms: int) -> int:
    """Take the next `count` revisions, and return the last of them."""
    taken: int | None = connection.execute(_TAKE_NEXT, {"count": count}).scalar_one_or_none()
    if taken is not None:
        return taken
    connection.execute(insert(environment).values(id=1, revision=count, created_at_ms=now_ms))
    return count


_CURRENT: Final = select(environment.c.revision)
_TAKE_NEXT: Final = (
    update(environment)
    .values(revision=environment.c.revision + bindparam("count", type_=BigInteger))
    .returning(environment.c.revision)
)
