"""Usage on its way into the database: records of all streams, grouped into one transaction.

Other work may go along: a companion's is done after the usage, in the same transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection

from control_plane.leasing.accounts import Gain
from control_plane.metering.counters import CounterCache
from control_plane.metering.ingest import Settlement, settle_records
from control_plane.metering.records import UsageRecord
from control_plane.provisioning import CatalogLibrary
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import get_logger

WEIGHT_PER_TRANSACTION: Final = 10_000
"""Records and their entries: past that, larger transactions are hardly faster, but later."""

WEIGHT_BESIDE_OTHER_WORK: Final = 2_000
"""Less, where somebody else waits for the transaction."""

BATCHES_WAITING_MAX: Final = 256
RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 5.0
DOUBLINGS_MAX: Final = 16

_log = get_logger("metering")


class _Waiting(NamedTuple):
    records: Sequence[UsageRecord]
    settled: asyncio.Future[Settlement]

    @property
    def weight(self) -> int:
        return sum(1 + len(record.entries) for record in self.records)


class Companion(Protocol):
    """Work that shares the transactions. It may be posted again, from the start, like usage."""

    def take(self) -> Any:
        """Return all work that waits; None where none does."""

    def post(self, connection: Connection, work: Any, cache: CounterCache, now_ms: int) -> Any:
        """Do the work, and return what became of it. On the transaction's thread."""

    def posted(self, work: Any, result: Any, gains: Sequence[Gain]) -> None:
        """Take in what was committed, and which pools the usage gave units back to."""

    def failed(self, work: Any, error: Exception) -> None:
        """Take in that the work cannot be done."""


class _Nothing:
    """The companion of a queue that has none."""

    def take(self) -> None:
        return None

    def post(self, connection: Connection, work: Any, cache: CounterCache, now_ms: int) -> Any:
        raise AssertionError

    def posted(self, work: Any, result: Any, gains: Sequence[Gain]) -> None:
        return

    def failed(self, work: Any, error: Exception) -> None:
        raise error


class _Committed(NamedTuple):
    """What one transaction did; None of what it had not to do."""

    settlement: Settlement | None
    result: Any


class IngestQueue:
    """Settles batches in the order they come. Bounded: a full queue makes streams wait."""

    def __init__(
        self,
        database: Database,
        library: CatalogLibrary,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._database = database
        self._cache = CounterCache(library)
        self._now_ms = now_ms
        self._random = random
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(BATCHES_WAITING_MAX)
        self._arrived = asyncio.Event()
        self.companion: Companion = _Nothing()
        # Told what became of each transaction.
        self.on_settled: Callable[[Settlement], None] = _ignore

    async def submit(self, records: Sequence[UsageRecord]) -> Awaitable[Settlement]:
        """Have records settled after those submitted before, together with those of other streams.

        Returns once they are in the queue, what waits until they are committed.
        """
        settled: asyncio.Future[Settlement] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Waiting(records, settled))
        self._arrived.set()
        return settled

    async def settle(self, records: Sequence[UsageRecord]) -> Settlement:
        """Settle records together with those of other streams; return once that is committed."""
        return await (await self.submit(records))

    def wake(self) -> None:
        """Note that the companion has work."""
        self._arrived.set()

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await self._arrived.wait()
            work = self.companion.take()
            group = self._take(WEIGHT_PER_TRANSACTION if work is None else WEIGHT_BESIDE_OTHER_WORK)
            if work is None and not group:
                self._arrived.clear()
                continue
            try:
                committed = await self._commit(group, work)
            except Exception as error:  # noqa: BLE001 (what one batch does must not fail others)
                await self._commit_alone(group, work, error)
            else:
                self._tell(group, work, committed)

    def _take(self, weight_max: int) -> list[_Waiting]:
        group: list[_Waiting] = []
        weight = 0
        while weight < weight_max and not self._queue.empty():
            group.append(self._queue.get_nowait())
            weight += group[-1].weight
        return group

    async def _commit_alone(self, group: Sequence[_Waiting], work: Any, error: Exception) -> None:
        """Find what cannot be done; the error is for the stream that sent it."""
        parts: list[tuple[list[_Waiting], Any]] = [([waiting], None) for waiting in group]
        if work is not None:
            parts.append(([], work))
        if len(parts) == 1:
            self._fail(*parts[0], error)
            return
        for part in parts:
            try:
                committed = await self._commit(*part)
            except Exception as own_error:  # noqa: BLE001 (handed to the stream)
                self._fail(*part, own_error)
            else:
                self._tell(*part, committed)

    def _fail(self, group: Sequence[_Waiting], work: Any, error: Exception) -> None:
        if work is not None:
            self.companion.failed(work, error)
        for waiting in group:
            _log.error("usage not settled", error=str(error), records=len(waiting.records))
            if not waiting.settled.done():
                waiting.settled.set_exception(error)

    def _tell(self, group: Sequence[_Waiting], work: Any, committed: _Committed) -> None:
        settlement = committed.settlement
        if settlement is not None:
            if settlement.draws_refused:
                _log.warning("draws that no lease has", draws=settlement.draws_refused)
            for key in settlement.overdrawn:
                _log.warning("more was released than acquired", **key._asdict())
            self.on_settled(settlement)
            for waiting in group:
                if not waiting.settled.done():
                    waiting.settled.set_result(settlement)
        gains = () if settlement is None else settlement.gains
        if work is not None or gains:
            self.companion.posted(work, committed.result, gains)

    async def _commit(self, group: Sequence[_Waiting], other: Any) -> _Committed:
        records = [record for waiting in group for record in waiting.records]

        is_again = False

        def work(connection: Connection) -> _Committed:
            nonlocal is_again
            if is_again:
                # The transaction failed, perhaps at its commit, after the cache took it in.
                self._cache.clear()
            is_again = True
            now_ms = self._now_ms()
            settlement = result = None
            if records:
                settlement = settle_records(connection, records, self._cache, now_ms)
            if other is not None:
                result = self.companion.post(connection, other, self._cache, now_ms)
            return _Committed(settlement, result)

        attempt = 0
        while True:
            try:
                return await self._database.write(work)
            except UnavailableError as error:
                # Sidecars keep what is not acknowledged, so waiting loses nothing.
                _log.warning("usage not settled; tried again", error=str(error))
                span_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(attempt, DOUBLINGS_MAX))
                await asyncio.sleep(self._random.uniform(RETRY_S_MIN, span_s))
                attempt += 1
            except Exception:
                self._cache.clear()
                raise


def _ignore(_settlement: Settlement) -> None:
    return
