"""The last credits, asked for by many at once: never more than there are, and each key once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from credited import LEDGER, NOW_MS, Credited

from control_plane import crediting
from control_plane.crediting import Charge, NewGrant, Reversal, Transaction
from control_plane.storage.database import Database
from weighbridge.rules.credits import GrantKind
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

WRITERS = 4
CHARGES = 60


class Writers:
    """Several processes' connections to one database, or on SQLite one process's tasks."""

    def __init__(self, databases: list[Database]) -> None:
        self._databases = databases

    async def charge(self, writer: int, wanted: Charge) -> Transaction | None:
        """Charge, again while others are in the way; None where credits do not suffice."""
        database = self._databases[writer % len(self._databases)]

        def work(connection: object) -> Transaction:
            with crediting.open_book(connection, LEDGER, NOW_MS) as book:  # type: ignore[arg-type]
                return crediting.charge(book, wanted)

        while True:
            try:
                return await database.write(work)
            except FailedPreconditionError:
                return None
            except UnavailableError:
                await asyncio.sleep(0.001 * (writer + 1))


@contextmanager
def opened(engine: str, url: str) -> Iterator[list[Database]]:
    # A SQLite file belongs to one process, which has one writer.
    databases = [Database(url) for _ in range(WRITERS if engine == "postgresql" else 1)]
    yield databases
    for database in databases:
        database.close()


@pytest.fixture
async def writers(engine: str, database_url: str, credited: Credited) -> AsyncIterator[Writers]:
    with opened(engine, database_url) as databases:
        yield Writers(databases)


async def test_the_last_credits_are_spent_once(credited: Credited, writers: Writers) -> None:
    for _ in range(3):
        credited.grant(15)

    async with asyncio.timeout(100):
        paid = await asyncio.gather(
            *(writers.charge(n, Charge(f"c-{n}", 1)) for n in range(CHARGES))
        )

    assert sum(each is not None for each in paid) == 45
    balance = credited.balance()
    assert (balance.available, balance.settled, balance.totals.overage) == (0, 45, 0)


async def test_one_key_charges_once(credited: Credited, writers: Writers) -> None:
    credited.grant(100)
    async with asyncio.timeout(100):
        paid = await asyncio.gather(
            *(writers.charge(n, Charge("same", 10)) for n in range(2 * WRITERS))
        )
    assert {each.number for each in paid if each is not None} == {2}
    assert sum(not each.is_repeated for each in paid if each is not None) == 1
    assert credited.balance().settled == 10


async def test_a_first_transaction_is_made_once(credited: Credited, writers: Writers) -> None:
    async with asyncio.timeout(100):
        await asyncio.gather(
            *(writers.charge(n, Charge(f"c-{n}", 1, overage_max=None)) for n in range(2 * WRITERS))
        )
    assert credited.balance().totals.overage == 2 * WRITERS


async def test_a_charge_is_taken_back_once(credited: Credited, writers: Writers) -> None:
    credited.grant(10)
    credited.charge(10, key="c")

    async def take_back(number: int) -> bool:
        database = writers._databases[number % len(writers._databases)]

        def work(connection: object) -> Transaction:
            with crediting.open_book(connection, LEDGER, NOW_MS) as book:  # type: ignore[arg-type]
                return crediting.reverse(book, Reversal(f"r-{number}", "c"))

        while True:
            try:
                await database.write(work)
            except FailedPreconditionError:
                return False
            except UnavailableError:
                await asyncio.sleep(0.001 * (number + 1))
            else:
                return True

    async with asyncio.timeout(100):
        taken = await asyncio.gather(*(take_back(n) for n in range(2 * WRITERS)))
    assert sum(taken) == 1
    assert credited.balance().available == 10


def test_grants_of_one_key_are_one(credited: Credited) -> None:
    new = NewGrant("g", GrantKind.PREPAID, 5)
    for _ in range(3):
        credited.post(lambda book: crediting.create_grant(book, new))
    assert credited.balance().totals.granted == 5
