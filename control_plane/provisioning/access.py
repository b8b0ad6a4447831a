"""Access tokens: by role, stored as digests, revocable."""

from __future__ import annotations

import hmac
from enum import Enum
from typing import Final

from sqlalchemy import Connection, insert, select, update

from control_plane.storage.tables import access_token
from weighbridge.rules.errors import NotFoundError, UnauthenticatedError
from weighbridge.rules.units import require_id
from weighbridge.runtime.tokens import token_digest

TOKEN_LENGTH_MAX: Final = 4096


class Role(Enum):
    """What a token is for. None opens what another is for."""

    ADMIN = "admin"
    SYNC = "sync"


def register_token(connection: Connection, role: Role, name: str, token: str, now_ms: int) -> None:
    """Make a token the one of its role and name; the one it replaces is revoked.

    A token that is registered already stays as it is; one that was revoked is valid again.
    """
    require_id("name", name)
    digest = token_digest(token)
    table = access_token
    connection.execute(
        update(table)
        .where(
            table.c.role == role.value,
            table.c.name == name,
            table.c.digest != digest,
            table.c.revoked_at_ms.is_(None),
        )
        .values(revoked_at_ms=now_ms)
    )
    values = {"name": name, "role": role.value, "revoked_at_ms": None}
    known = connection.execute(update(table).where(table.c.digest == digest).values(values))
    if not known.rowcount:
        connection.execute(insert(table).values(digest=digest, created_at_ms=now_ms, **values))


def revoke_token(connection: Connection, role: Role, name: str, now_ms: int) -> None:
    """Revoke the token of a role and name. Raises NotFoundError where none is valid."""
    table = access_token
    revoked = connection.execute(
        update(table)
        .where(table.c.role == role.value, table.c.name == name, table.c.revoked_at_ms.is_(None))
        .values(revoked_at_ms=now_ms)
    )
    if not revoked.rowcount:
        raise NotFoundError(f"there is no valid {role.value} token named {name!r}")


def require_token(connection: Connection, role: Role, token: str) -> None:
    """Raise UnauthenticatedError unless the token is a valid one of the role."""
    if len(token) > TOKEN_LENGTH_MAX:
        raise UnauthenticatedError(f"the token is longer than {TOKEN_LENGTH_MAX} characters")
    digest = token_digest(token)
    table = access_token
    valid = connection.execute(
        select(table.c.digest, table.c.role).where(table.c.revoked_at_ms.is_(None))
    ).all()
    # Every digest is compared, in constant time: how long it takes tells nothing.
    matching = [row.role for row in valid if hmac.compare_digest(row.digest, digest)]
    if role.value in matching:
        return
    if matching:
        raise UnauthenticatedError(
            f"the token is of role {matching[0]}; this service takes one of role {role.value}"
        )
    raise UnauthenticatedError("the token is not known, or was revoked")
