"""The queue into the database: what fails, for whom, and what is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import TypeVar

import pytest
from metered import NOW_MS, Metered, entry, record
from sqlalchemy import Connection

from control_plane.metering.ingest import Settlement
from control_plane.metering.queue import IngestQueue
from control_plane.metering.records import EpochKey
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnavailableError

T = TypeVar("T")
KEY = EpochKey("sc-1", "e1")
OTHER = EpochKey("sc-2", "e1")
DEADLINE_S = 20.0


class FailingDatabase(Database):
    """A database whose connection breaks: before the transaction, or right after its commit."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.failures: list[str] = []
        self.transactions = 0

    async def write(self, work: Callable[[Connection], T]) -> T:
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "before":
            raise UnavailableError("the database cannot be used now")
        done = await super().write(work)
        self.transactions += 1
        if failure == "after":
            raise UnavailableError("the connection was lost, nobody knows when")
        return done


class Queued:
    def __init__(self, url: str) -> None:
        self.database = FailingDatabase(url)
        self.database.migrate()
        self.metered = Metered(self.database)
        self.queue = IngestQueue(self.database, self.metered.library, lambda: NOW_MS, Random(1))
        self.told: list[Settlement] = []
        self.queue.on_settled = self.told.append


@pytest.fixture
async def queued(database_url: str) -> AsyncIterator[Queued]:
    made = Queued(database_url)
    running = asyncio.create_task(made.queue.run())
    async with asyncio.timeout(DEADLINE_S):
        yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    made.database.close()


async def test_batches_that_wait_share_a_transaction(queued: Queued) -> None:
    settled = await asyncio.gather(
        *(queued.queue.settle([record(n, entry())]) for n in range(1, 21)),
        queued.queue.settle([record(1, entry(), sidecar_id="sc-2")]),
    )

    assert queued.database.transactions < 21
    assert settled[-1].marks[OTHER] == 1
    assert queued.metered.mark() == 20
    assert sum(told.events for told in queued.told) == 21


async def test_an_outage_is_waited_out(queued: Queued) -> None:
    queued.database.failures = ["before"] * 4

    settled = await queued.queue.settle([record(1, entry())])

    assert settled.marks == {KEY: 1}
    assert len(queued.told) == 1


async def test_a_commit_whose_answer_was_lost_settles_once(queued: Queued) -> None:
    await queued.queue.settle([record(1, entry(amount=3))])
    queued.database.failures = ["after", "after"]

    settled = await queued.queue.settle([record(2, entry(amount=4)), record(3, entry(amount=5))])

    assert settled.marks == {KEY: 3}
    assert queued.metered.totals("acme")["", "api.calls", "calendar:month:UTC"] == 12


async def test_a_batch_that_cannot_be_settled_fails_nobody_else(queued: Queued) -> None:
    # No converter lets such a record through; whatever gets past it must hurt its sender alone.
    broken = record(1, entry(key="k"), sidecar_id="sc-2")._replace(digest=object())  # type: ignore[arg-type]

    results = await asyncio.gather(
        queued.queue.settle([record(1, entry())]),
        queued.queue.settle([broken]),
        queued.queue.settle([record(2, entry())]),
        return_exceptions=True,
    )

    assert isinstance(results[1], Exception)
    assert not isinstance(results[0], BaseException)
    assert queued.metered.mark() == 2
    assert queued.metered.mark("sc-2") == 0


async def test_a_stream_that_left_holds_up_nobody(queued: Queued) -> None:
    queued.database.failures = ["before"]
    leaving = asyncio.create_task(queued.queue.settle([record(1, entry())]))
    await asyncio.sleep(0)
    leaving.cancel()

    assert (await queued.queue.settle([record(2, entry())])).marks == {KEY: 2}
