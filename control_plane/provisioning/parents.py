"""Who is above a customer, in the database. It is fixed when the customer is made.

What was used under a parent is in the totals of everybody above it for good. A customer that moved
would take its usage out of windows that decided calls, or bring in what nobody there had used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from control_plane.storage.tables import customer, customer_ancestor
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from weighbridge.rules.granting import LEVELS_MAX
from weighbridge.rules.units import require_optional_id


class Parent(NamedTuple):
    """A customer to make another under; `ancestors` are its own, nearest first."""

    id: str
    catalog: str
    ancestors: tuple[str, ...]


def require_parent(connection: Connection, parent_id: str) -> Parent | None:
    """Return the parent named, None for none. Raises NotFoundError, or where it is too deep."""
    if not require_optional_id("parent", parent_id):
        return None
    query = select(customer.c.catalog_id).where(customer.c.id == parent_id)
    catalog_id = connection.scalar(query)
    if catalog_id is None:
        raise NotFoundError(f"parent {parent_id!r} does not exist; make that customer first")
    ancestors = ancestors_of(connection, parent_id)
    levels = len(ancestors) + 1
    if levels >= LEVELS_MAX:
        raise FailedPreconditionError(
            f"parent {parent_id!r} is {levels} levels deep; a hierarchy has at most {LEVELS_MAX}, "
            "so nobody can be under it"
        )
    return Parent(parent_id, catalog_id, ancestors)


def require_same_catalog(parent: Parent, catalog_id: str) -> None:
    """Raise InvalidArgumentError where the parent is in another catalog."""
    if parent.catalog != catalog_id:
        raise InvalidArgumentError(
            "parent",
            f"{parent.id!r} is in catalog {parent.catalog!r}, and the customer is to be in "
            f"{catalog_id!r}; a customer is in the catalog of its parent",
        )


def insert_under(connection: Connection, customer_id: str, parent: Parent) -> None:
    """Note everybody who is above a new customer."""
    rows = [
        {"customer_id": customer_id, "ancestor_id": ancestor, "depth": depth}
        for depth, ancestor in enumerate((parent.id, *parent.ancestors), start=1)
    ]
    connection.execute(insert(customer_ancestor), rows)


def ancestors_of(connection: Connection, customer_id: str) -> tuple[str, ...]:
    """Return everybody above a customer, nearest first."""
    above = customer_ancestor.c
    query = select(above.ancestor_id).where(above.customer_id == customer_id).order_by(above.depth)
    return tuple(connection.scalars(query))


def ancestors_of_all(connection: Connection, customers: Iterable[str]) -> dict[str, Sequence[str]]:
    """Return everybody above each of a few hundred customers, nearest first."""
    above = customer_ancestor.c
    query = (
        select(above.customer_id, above.ancestor_id)
        .where(above.customer_id.in_(list(customers)))
        .order_by(above.customer_id, above.depth)
    )
    found: dict[str, list[str]] = {}
    for row in connection.execute(query):
        found.setdefault(row.customer_id, []).append(row.ancestor_id)
    return dict(found)
