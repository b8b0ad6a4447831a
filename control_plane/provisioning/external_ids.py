"""What customers are called in other systems."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from control_plane.provisioning.changing import require_customer
from control_plane.storage.export_tables import external_id
from weighbridge.rules.errors import AlreadyExistsError, InvalidArgumentError
from weighbridge.rules.units import require_optional_id, require_text

EXTERNAL_ID_LENGTH_MAX: Final = 256
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
_SYSTEM: Final = re.compile(r"[a-z][a-z0-9_]{0,15}", re.ASCII)


class ExternalId(NamedTuple):
    """A customer, a system, and what the customer is called there."""

    customer: str
    system: str
    external_id: str


def require_system(system: str) -> str:
    """Return the name of a system. Raises InvalidArgumentError."""
    if _SYSTEM.fullmatch(system) is None:
        problem = f"{system[:32]!r} is no name of a system, such as stripe, zuora or crm"
        raise InvalidArgumentError("system", problem)
    return system


def set_external_id(connection: Connection, wanted: ExternalId) -> None:
    """Say what a customer is called; "" removes it.

    Raises NotFoundError, and AlreadyExistsError where another customer is called so.
    """
    require_customer(connection, "customer", wanted.customer)
    require_system(wanted.system)
    require_text("external_id", wanted.external_id, EXTERNAL_ID_LENGTH_MAX)
    table = external_id.c
    mine = (table.system == wanted.system, table.customer_id == wanted.customer)
    if not wanted.external_id:
        connection.execute(delete(external_id).where(*mine))
        return
    taken = find_customer(connection, wanted.system, wanted.external_id)
    if taken is not None and taken != wanted.customer:
        raise AlreadyExistsError(
            f"external_id {wanted.external_id!r} of {wanted.system} is customer {taken!r}'s"
        )
    changed = connection.execute(
        update(external_id).where(*mine).values(external_id=wanted.external_id)
    )
    if not changed.rowcount:
        connection.execute(
            insert(external_id).values(
                system=wanted.system,
                customer_id=wanted.customer,
                external_id=wanted.external_id,
            )
        )


def find_customer(connection: Connection, system: str, name: str) -> str | None:
    """Return the customer that is called so, None where nobody is."""
    table = external_id.c
    found: str | None = connection.scalar(
        select(table.customer_id).where(table.system == system, table.external_id == name)
    )
    return found


def find_external_id(connection: Connection, system: str, customer: str) -> str | None:
    """Return what a customer is called, None where it has no name there."""
    table = external_id.c
    found: str | None = connection.scalar(
        select(table.external_id).where(table.system == system, table.customer_id == customer)
    )
    return found


def list_external_ids(
    connection: Connection, customer: str, system: str, page_size: int, page_token: str
) -> tuple[list[ExternalId], str]:
    """Return a page by customer and system, and where the next one begins ("" after the last)."""
    require_optional_id("customer", customer)
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{page_size} is not 0 to {PAGE_SIZE_MAX}")
    table, size = external_id.c, page_size or PAGE_SIZE_DEFAULT
    query = select(table.customer_id, table.system, table.external_id)
    if customer:
        query = query.where(table.customer_id == customer)
    if system:
        query = query.where(table.system == require_system(system))
    if page_token:
        query = query.where(_is_after(page_token))
    rows = connection.execute(query.order_by(table.customer_id, table.system).limit(size + 1)).all()
    page = [ExternalId(*row) for row in rows[:size]]
    token = f"{page[-1].system} {page[-1].customer}" if len(rows) > size else ""
    return page, token


def _is_after(token: str) -> Any:
    system, space, customer = token.partition(" ")
    if not space:
        raise InvalidArgumentError("page_token", "is not one that a page came with")
    table = external_id.c
    return tuple_(table.customer_id, table.system) > tuple_(customer, system)
