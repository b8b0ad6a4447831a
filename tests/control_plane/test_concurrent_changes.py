"""Changes at the same time from several processes, as PostgreSQL lets them: none is half, or lost.

No control plane shares a database today; these tests are what lets one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from provisioned import CATALOG, NOW_MS
from sqlalchemy import Connection, func, select

from control_plane import provisioning
from control_plane.provisioning import CatalogLibrary, CatalogSource, NewCustomer
from control_plane.storage.database import Database
from control_plane.storage.tables import catalog_version, subscription
from tests.storage_engines import FreshUrl
from weighbridge.rules.errors import (
    AlreadyExistsError,
    ConflictError,
    UnavailableError,
)

WRITERS = 4

Change = Callable[[Connection, CatalogLibrary], Any]


class Writers:
    """Processes with a connection and a cache of their own."""

    def __init__(self, url: str) -> None:
        self.databases = [Database(url) for _ in range(WRITERS)]
        self._libraries = [CatalogLibrary() for _ in range(WRITERS)]

    async def together(self, *changes: Change) -> list[Any]:
        """Make one change per writer, all at once; return results and errors."""
        return await asyncio.gather(
            *(self._make(writer, change) for writer, change in enumerate(changes)),
            return_exceptions=True,
        )

    async def _make(self, writer: int, change: Change) -> Any:
        library = self._libraries[writer]
        while True:
            try:
                return await self.databases[writer].write(lambda c: change(c, library))
            except UnavailableError:
                await asyncio.sleep(0.001 * writer)

    async def ask(self, query: Any) -> list[Any]:
        return await self.databases[0].read(lambda c: list(c.execute(query).all()))


@pytest.fixture
async def writers(fresh_postgresql_url: FreshUrl) -> AsyncIterator[Writers]:
    with fresh_postgresql_url() as url:
        made = Writers(url)
        yield made
        for database in made.databases:
            database.close()


def apply(text: str, expected: int | None, connection: Connection, library: CatalogLibrary) -> int:
    source = CatalogSource(text, "catalog.yaml")
    return provisioning.apply_catalog(connection, library, source, expected, NOW_MS).version


def create(customer: str, connection: Connection, library: CatalogLibrary) -> str:
    new = NewCustomer(customer, customer, "", (), "free")
    return provisioning.create_customer(connection, library, new, NOW_MS).customer.id


def subscribe(plan: str, connection: Connection, library: CatalogLibrary) -> str:
    wanted = provisioning.WantedSubscription(customer="acme", plan=plan)
    record = provisioning.set_subscription(connection, library, wanted, NOW_MS)
    return record.customer.subscriptions[0].plan


async def test_of_catalogs_applied_at_once_each_follows_another(writers: Writers) -> None:
    first = await writers.together(*(partial(apply, CATALOG, None) for _ in range(WRITERS)))
    assert first == [1] * WRITERS, "the same content changes nothing, also when it is new"

    texts = [CATALOG.replace("limit: 100,", f"limit: {200 + n},") for n in range(WRITERS)]
    versions = await writers.together(*(partial(apply, text, None) for text in texts))
    assert sorted(versions) == [2, 3, 4, 5]
    stored = await writers.ask(select(catalog_version.c.version, catalog_version.c.document))
    assert dict(map(tuple, stored)) == {1: CATALOG, **dict(zip(versions, texts, strict=True))}


async def test_of_two_who_apply_on_the_same_version_one_is_told(writers: Writers) -> None:
    await writers.together(partial(apply, CATALOG, 0))
    texts = [CATALOG.replace("limit: 100,", f"limit: {200 + n},") for n in range(WRITERS)]

    results = await writers.together(*(partial(apply, text, 1) for text in texts))

    assert results.count(2) == 1
    told = [str(result) for result in results if isinstance(result, ConflictError)]
    assert len(told) == WRITERS - 1
    limit = 200 + results.index(2)
    changed = f"plans.free.features.api.calls.limits.month.limit changed from 100 to {limit}"
    assert all(changed in each for each in told)
    assert await writers.ask(select(func.count()).select_from(catalog_version)) == [(2,)]


async def test_one_customer_is_made_once_and_versions_are_given_once(writers: Writers) -> None:
    await writers.together(partial(apply, CATALOG, None))

    same = await writers.together(*(partial(create, "acme") for _ in range(WRITERS)))
    assert same.count("acme") == 1
    assert sum(isinstance(result, AlreadyExistsError) for result in same) == WRITERS - 1

    names = [f"c{number}" for number in range(WRITERS)]
    assert await writers.together(*(partial(create, name) for name in names)) == names
    async with asyncio.timeout(20):
        customers = await writers.databases[0].read(
            lambda c: provisioning.customers_changed_since(c, 0, 100)
        )
    # The catalog took the first revision.
    assert sorted(customer.version for customer in customers) == [2, 3, 4, 5, 6]


async def test_a_customer_has_one_active_subscription(writers: Writers) -> None:
    await writers.together(partial(apply, CATALOG, None))
    await writers.together(partial(create, "acme"))

    plans = ["pro", "free", "pro", "free"]
    assert await writers.together(*(partial(subscribe, plan) for plan in plans)) == plans

    active = await writers.ask(select(subscription.c.id).where(subscription.c.status == "active"))
    assert len(active) == 1
