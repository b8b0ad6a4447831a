"""Whose grants are due: customers that changed, whose time has come, or whose catalog changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from control_plane.crediting.releasing import Released, release_grants
from control_plane.crediting.watches import watch_balances, watches_credits
from control_plane.provisioning import CatalogLibrary, catalog_versions, load_customers
from control_plane.storage.ledger_tables import credit_progress, credit_schedule
from control_plane.storage.tables import catalog_version, customer
from weighbridge.rules.catalog import Catalog

CUSTOMERS_PER_PAGE: Final = 100


class Due(NamedTuple):
    """How many grants a page made, and whether there may be more to look at at once."""

    grants: int
    is_more: bool


class _Changed(NamedTuple):
    """A customer that changed."""

    id: str
    version: int
    catalog_id: str


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
    is_idle = not changed and not timely and not _is_sweep_due(connection, before)
    catalogs = {} if is_idle else _catalogs(connection, library)
    granting = [
        id_
        for id_, catalog in catalogs.items()
        if _grants_credits(catalog) or watches_credits(catalog)
    ]
    swept, after = _swept(connection, before, granting)
    looked_at = [row.id for row in changed if row.catalog_id in granting]
    made = 0
    for each in load_customers(connection, [*looked_at, *timely, *swept]):
        released = release_grants(connection, catalogs[each.catalog], each, now_ms)
        _schedule(connection, each.id, released)
        made += released.grants
        watch_balances(connection, catalogs[each.catalog], each, now_ms)
    revision = max([before.customer_revision, *(row.version for row in changed)])
    _save(connection, before, after._replace(customer_revision=revision))
    pages = (changed, timely, swept)
    return Due(made, any(len(page) == CUSTOMERS_PER_PAGE for page in pages))


def _catalogs(connection: Connection, library: CatalogLibrary) -> dict[str, Catalog]:
    return {id_: library.load(connection, id_) for id_ in catalog_versions(connection)}


def _grants_credits(catalog: Catalog) -> bool:
    """Whether anything in it comes with credits: where nothing does, nobody need be looked at.

    Who was granted some before, and is to be looked at again, is in the schedule.
    """
    plans = (plan for versions in catalog.plans.values() for plan in versions.values())
    return any(plan.credit_grants for plan in plans) or any(
        add_on.credit_grants for add_on in catalog.add_ons.values()
    )


def _changed(connection: Connection, revision: int) -> list[_Changed]:
    query = (
        select(customer.c.id, customer.c.version, customer.c.catalog_id)
        .where(customer.c.version > revision)
        .order_by(customer.c.version)
        .limit(CUSTOMERS_PER_PAGE)
    )
    return [_Changed(*row) for row in connection.execute(query).all()]


def _timely(connection: Connection, now_ms: int) -> list[str]:
    table = credit_schedule.c
    query = (
        select(table.customer_id)
        .where(table.next_at_ms <= now_ms)
        .order_by(table.next_at_ms)
        .limit(CUSTOMERS_PER_PAGE)
    )
    return list(connection.scalars(query))


def _is_sweep_due(connection: Connection, progress: _Progress) -> bool:
    return progress.sweep_after is not None or _newest(connection) > progress.catalog_revision


def _newest(connection: Connection) -> int:
    """Return the revision of the newest version of any catalog; 0 where there is none."""
    return connection.execute(select(func.max(catalog_version.c.revision))).scalar_one() or 0


def _swept(
    connection: Connection, progress: _Progress, granting: Sequence[str]
) -> tuple[list[str], _Progress]:
    """Return the next customers of a look at all, which a new catalog version begins anew."""
    newest = _newest(connection)
    if newest > progress.catalog_revision:
        progress = progress._replace(catalog_revision=newest, sweep_after="")
    if progress.sweep_after is None:
        return [], progress
    query = (
        select(customer.c.id)
        .where(customer.c.id > progress.sweep_after, customer.c.catalog_id.in_(granting))
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
