"""One control plane's leases without streams: grants per second, and usage that draws from them.

Desk, queue, granter and database are those of the process; what stands for the streams only counts
answers and asks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final, NamedTuple

from bench.failure import BenchError
from control_plane import provisioning
from control_plane.granting.desk import LeaseDesk
from control_plane.granting.granter import Granter
from control_plane.granting.serving import LeaseService
from control_plane.granting.work import LeaseAnswer, LeaseMessage, LeaseRequest, Want
from control_plane.leasing.accounts import EpochId
from control_plane.leasing.conservation import check_all
from control_plane.leasing.holding import HolderClaim, LeaseTerms
from control_plane.leasing.settling import Draw
from control_plane.metering.queue import IngestQueue
from control_plane.metering.records import UsageEntry, UsageKind, UsageRecord
from control_plane.provisioning import CatalogLibrary, CatalogSource, NewCustomer
from control_plane.storage.database import Database
from weighbridge.rules.lease import PoolKey
from weighbridge.runtime.clock import boot_ms, wall_ms

LEASED: Final = "leased"
COUNTED: Final = "counted"
LIMIT: Final = 1_000_000_000_000
SIDECARS: Final = 8
REQUESTS_WAITING: Final = 4_000
"""How many requests wait at any time where they are grouped, over all sidecars."""

ENTRIES_PER_RECORD: Final = 100
RECORDS_PER_BATCH: Final = 20
UNITS_PER_LEASE: Final = 1_000_000
_CATALOG: Final = f"""
catalog: bench
features:
  {LEASED}: {{type: metered, consistency: leased}}
  {COUNTED}: {{type: metered, consistency: cached}}
plans:
  bench:
    features:
      {LEASED}: {{limits: [{{limit: {LIMIT}, window: lifetime}}]}}
      {COUNTED}: {{limits: [{{limit: {LIMIT}, window: lifetime}}]}}
"""
_TERMS: Final = LeaseTerms(ttl_ms=60_000, lost_after_ms=600_000)
_WAIT_S_MAX: Final = 60.0
_EPOCH: Final = "epoch-1"


class Rates(NamedTuple):
    """What one database did, per second."""

    hot_alone: float
    hot_grouped: float
    spread_alone: float
    spread_grouped: float
    deltas: float
    deltas_drawn: float


class Effort(NamedTuple):
    """How long each figure is measured for, and over how many pools grants are spread."""

    seconds: float
    pools: int


def measure_granting(url: str, effort: Effort) -> Rates:
    """Measure on a database that nothing else uses. Raises BenchError where units do not add up."""
    if effort.pools < ENTRIES_PER_RECORD:
        raise BenchError(f"at least {ENTRIES_PER_RECORD} pools: a record draws once from each")
    database = Database(url)
    try:
        database.migrate()
        library = CatalogLibrary()
        _seed(database, library, effort.pools)
        rates = asyncio.run(_measure(database, library, effort))
        with database.reading() as connection:
            differences = check_all(connection).differences
        if differences:
            raise BenchError(f"units of a limit do not add up: {differences[0]}")
        return rates
    finally:
        database.close()


def customer_id(number: int) -> str:
    """Return the id of a customer, from 0."""
    return f"customer-{number:04}"


def _seed(database: Database, library: CatalogLibrary, customers: int) -> None:
    now_ms = wall_ms()
    with database.writing() as connection:
        source = CatalogSource(_CATALOG, "bench")
        provisioning.apply_catalog(connection, library, source, None, now_ms)
        for number in range(customers):
            name = customer_id(number)
            new = NewCustomer(name, name, "", (), "bench")
            provisioning.create_customer(connection, library, new, now_ms)


class _ControlPlane:
    """What of a control plane has to do with leases and usage."""

    def __init__(self, database: Database, library: CatalogLibrary) -> None:
        self.queue = IngestQueue(database, library, wall_ms, Random(1))
        granter = Granter(Random(2), _TERMS)
        self.leases = LeaseService(LeaseDesk(250), granter, self.queue, boot_ms)


@asynccontextmanager
async def _running(database: Database, library: CatalogLibrary) -> AsyncIterator[_ControlPlane]:
    made = _ControlPlane(database, library)
    tasks = [asyncio.create_task(made.queue.run()), asyncio.create_task(made.leases.run())]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _measure(database: Database, library: CatalogLibrary, effort: Effort) -> Rates:
    hot = [_pool(0)]
    spread = [_pool(number) for number in range(effort.pools)]
    async with _running(database, library) as control_plane:
        asking = _Asking(control_plane.leases)
        await asking.greet()
        # What is compiled once, and each pool and lease is made once.
        await asking.open_all(spread)
        grants = [
            await asking.measure(pools, waiting, effort.seconds)
            for pools in (hot, spread)
            for waiting in (1, REQUESTS_WAITING)
        ]
        deltas = await _settle(control_plane.queue, effort, None)
        drawn = await _settle(control_plane.queue, effort, asking.leases)
    return Rates(*grants, deltas, drawn)


def _pool(number: int) -> PoolKey:
    return PoolKey(customer_id(number), "", LEASED, "lifetime", 0)


def _epoch(sidecar: int) -> EpochId:
    return (f"sidecar-{sidecar}", _EPOCH)


class _Asking:
    """Sidecars that ask, and ask again when they are answered."""

    def __init__(self, leases: LeaseService) -> None:
        self._service = leases
        self._random = Random(3)
        self._numbers = 0
        self._answered = 0
        self._again: Callable[[int], None] = _nothing
        self._failure: Exception | None = None
        # By sidecar and pool, for what draws from them.
        self.leases: dict[tuple[int, PoolKey], int] = {}
        leases.deliver = self._deliver
        leases.fail = self._fail

    async def greet(self) -> None:
        """Say hello with each sidecar."""
        for sidecar in range(SIDECARS):
            await self._service.greet(
                sidecar, HolderClaim(_epoch(sidecar), (), {}, may_have_lost=False)
            )

    async def open_all(self, pools: Sequence[PoolKey]) -> None:
        """Have every sidecar hold a lease of every pool."""
        before = self._answered
        for sidecar in range(SIDECARS):
            for first in range(0, len(pools), 200):
                self._ask(sidecar, pools[first : first + 200], UNITS_PER_LEASE)
        await self._until(before + self._numbers)

    async def measure(self, pools: Sequence[PoolKey], waiting: int, seconds: float) -> float:
        """Return grants per second, with so many requests waiting at any time."""
        self._again = lambda sidecar: self._ask(sidecar, [self._random.choice(pools)], 1)
        asked = self._numbers - self._answered
        for number in range(waiting):
            self._again(number % SIDECARS)
        # The first group is smaller than those that follow.
        await self._until(self._answered + asked + waiting)
        started_s, before = time.perf_counter(), self._answered
        await asyncio.sleep(seconds)
        # To the end of a transaction, as it began at one: they are answered all at once.
        await self._until(self._answered + 1)
        rate = (self._answered - before) / (time.perf_counter() - started_s)
        self._again = _nothing
        await self._until(self._numbers)
        return rate

    def _ask(self, sidecar: int, pools: Sequence[PoolKey], units: int) -> None:
        self._numbers += 1
        wants = tuple(Want(pool, 1, units, LIMIT) for pool in pools)
        self._service.request(sidecar, LeaseRequest(self._numbers, (), wants))

    def _deliver(self, session: object, message: LeaseMessage) -> None:
        if not isinstance(message, LeaseAnswer):
            return
        assert isinstance(session, int), "sessions are sidecars' numbers"
        if not message.leases:
            self._failure = BenchError(f"a grant was refused: {message.refusals}")
            return
        self._answered += 1
        for lease in message.leases:
            self.leases[session, lease.pool] = lease.id
        self._again(session)

    def _fail(self, _session: object, error: Exception) -> None:
        self._failure = error

    async def _until(self, answered: int) -> None:
        deadline_s = time.monotonic() + _WAIT_S_MAX
        while self._answered < answered:
            if self._failure is not None:
                raise self._failure
            if time.monotonic() > deadline_s:
                raise BenchError(f"{self._answered} of {answered} requests were answered")
            await asyncio.sleep(0.001)


async def _settle(
    queue: IngestQueue, effort: Effort, leases: dict[tuple[int, PoolKey], int] | None
) -> float:
    """Return usage deltas settled per second; with draws where leases are given."""
    kind = COUNTED if leases is None else LEASED
    settling = [_Settling(sidecar, kind, effort.pools, leases) for sidecar in range(SIDECARS)]
    # Windows are made, and what is compiled once.
    await asyncio.gather(*(queue.settle(each.batch()) for each in settling))
    started_s = time.perf_counter()
    until_s = started_s + effort.seconds
    counts = await asyncio.gather(*(each.run(queue, until_s) for each in settling))
    return sum(counts) / (time.perf_counter() - started_s)


class _Settling:
    """A sidecar that sends usage."""

    def __init__(
        self,
        sidecar: int,
        feature: str,
        customers: int,
        leases: dict[tuple[int, PoolKey], int] | None,
    ) -> None:
        self._sidecar = sidecar
        self._feature = feature
        self._customers = customers
        self._leases = leases
        self._number = 0
        self._next = 0
        # Each kind of usage is of an epoch of its own only where nothing draws from leases.
        self._epoch = _EPOCH if leases is not None else "epoch-counted"

    async def run(self, queue: IngestQueue, until_s: float) -> int:
        """Send batches until an instant; return how many deltas were settled."""
        settled = 0
        while time.perf_counter() < until_s:
            settlement = await queue.settle(self.batch())
            if settlement.draws_refused or settlement.set_aside:
                raise BenchError(f"usage was not settled as it was sent: {settlement}")
            settled += RECORDS_PER_BATCH * ENTRIES_PER_RECORD
        return settled

    def batch(self) -> list[UsageRecord]:
        """Return the records that come next."""
        return [self._record() for _ in range(RECORDS_PER_BATCH)]

    def _record(self) -> UsageRecord:
        now_ms = wall_ms()
        self._number += 1
        customers = [
            (self._next + number) % self._customers for number in range(ENTRIES_PER_RECORD)
        ]
        self._next += ENTRIES_PER_RECORD
        entries = tuple(
            UsageEntry(customer_id(c), "", self._feature, 1, now_ms, UsageKind.CONSUME)
            for c in customers
        )
        draws: tuple[Draw, ...] = ()
        if self._leases is not None:
            draws = tuple(Draw(self._leases[self._sidecar, _pool(c)], 1) for c in customers)
        sidecar, epoch = _epoch(self._sidecar)[0], self._epoch
        digest = self._number.to_bytes(16)
        return UsageRecord(sidecar, epoch, self._number, digest, entries, draws)


def _nothing(_sidecar: int) -> None:
    return
