"""Whose grants are due: customers that changed, whose time has come, or whose catalog changed."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from control_plane.crediting.releasing import Released, release_grants
from control_plane.provisioning import CatalogLibrary, load_customers
from control_plane.storage.ledger_tables import credit_progress, credit_schedule
from control_plane.storage.tables import catalog_version, customer

CUSTOMERS_PER_PAGE: Final = 100


class Due(NamedTuple):
    """How many grants a page made, and whether there may be more to look at at once."""

    grants: int
    is_more: bool


class _Progress(NamedTuple):
    """Up to which changes everybody was looked at. `sweep_after`: a look at all is under way."""

    customer_revision: int
    catalog_revision: int
    sweep_after: str | None


def release_due(connection: Connection, library: CatalogLibrary, now_ms: int) -> Due:
    """Look at a page of customers whose grants may be due, and make those that are."""
    before = _progress(connection)
    changed = _changed(connection, before.customer_revision)
    timely = _timely(connection, now_ms)
    swept, after = _swept(connection, before)
    made = 0
    for each in load_customers(connection, [*changed, *timely, *swept]):
        catalog = library.load(connection, each.catalog)
        released = release_grants(connection, catalog, each, now_ms)
        _schedule(connection, each.id, released)
        made += released.grants
    revision = max([before.customer_revision, *changed.values()])
    _save(connection, before, after._replace(customer_revision=revision))
    pages = (changed, timely, swept)
    return Due(made, any(len(page) == CUSTOMERS_PER_PAGE for page in pages))


def _changed(connection: Connection, revision: int) -> dict[str, int]:
    query = (
        select(customer.c.id, customer.c.version)
        .where(customer.c.version > revision)
        .order_by(customer.c.version)
        .limit(CUSTOMERS_PER_PAGE)
    )
    return {row.id: row.version for row in connection.execute(query)}


def _timely(connection: Connection, now_ms: int) -> list[str]:
    table = credit_schedule.c
    query = (
        select(table.customer_id)
        .where(table.next_at_ms <= now_ms)
        .order_by(table.next_at_ms)
        .limit(CUSTOMERS_PER_PAGE)
    )
    return list(connection.scalars(query))


def _swept(connection: Connection, progress: _Progress) -> tuple[list[str], _Progress]:
    """Return the next customers of a look at all, which a new catalog version begins anew."""
    newest = connection.execute(select(func.max(catalog_version.c.revision))).scalar_one() or 0
    if newest > progress.catalog_revision:
        progress = progress._replace(catalog_revision=newest, sweep_after="")
    if progress.sweep_after is None:
        return [], progress
    query = (
        select(customer.c.id)
        .where(customer.c.id > progress.sweep_after)
        .order_by(customer.c.id)
        .limit(CUSTOMERS_PER_PAGE)
    )
    page = list(connection.scalars(query))
    is_last = len(page) < CUSTOMERS_PER_PAGE
    return page, progress._replace(sweep_after=None if is_last else page[-1])


def _schedule(connection: Connection, customer_id: str, released: Released) -> None:
    table = credit_schedule
    is_customer = table.c.customer_id == customer_id
    if released.next_at_ms is None:
        connection.execute(delete(table).where(is_customer))
        return
    values = {"next_at_ms": released.next_at_ms}
    if not connection.execute(update(table).where(is_customer).values(**values)).rowcount:
        connection.execute(insert(table).values(customer_id=customer_id, **values))


def _progress(connection: Connection) -> _Progress:
    table = credit_progress.c
    row = connection.execute(
        select(table.customer_revision, table.catalog_revision, table.sweep_after)
    ).one_or_none()
    return _Progress(0, 0, None) if row is None else _Progress(*row)


def _save(connection: Connection, before: _Progress, after: _Progress) -> None:
    if before == after:
        return
    values = after._asdict()
    if not connection.execute(update(credit_progress).values(**values)).rowcount:
        connection.execute(insert(credit_progress).values(id=1, **values))
