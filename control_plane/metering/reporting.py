"""Usage that is reported to the control plane itself, in records of its own.

It takes the way of sidecars' records: numbered without gaps within an epoch, settled exactly once.
Each process has an epoch; where a record fails, it begins another, for nothing may follow a gap.
What came twice, its idempotency key tells, for 24 hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from control_plane.metering.queue import IngestQueue
from control_plane.metering.records import ENTRIES_PER_RECORD_MAX, UsageEntry, UsageRecord
from weighbridge.rules.errors import ResourceExhaustedError

REPORTER: Final = "control-plane"
"""The sidecar id of its records."""

WAITING_MAX: Final = 20_000


class _Waiting(NamedTuple):
    entries: Sequence[UsageEntry]
    settled: asyncio.Future[None]


class Reporter:
    """Groups what is reported at once into one record. For one event loop."""

    def __init__(self, queue: IngestQueue, new_epoch: Callable[[], str]) -> None:
        self._queue = queue
        self._new_epoch = new_epoch
        self._epoch = new_epoch()
        self._number = 0
        self._waiting: list[_Waiting] = []
        self._entries = 0
        self._settling: asyncio.Task[None] | None = None

    async def report(self, entries: Sequence[UsageEntry]) -> None:
        """Return once usage is committed. Raises ResourceExhaustedError where too much waits."""
        if self._entries + len(entries) > WAITING_MAX:
            raise ResourceExhaustedError(
                f"{self._entries} events wait to be settled; nothing of this was counted, try again"
            )
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(entries, settled))
        self._entries += len(entries)
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle_all())
        # Whoever leaves does not stop the others.
        await asyncio.shield(settled)

    async def _settle_all(self) -> None:
        try:
            while self._waiting:
                await self._settle(self._take())
        finally:
            self._settling = None

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        count = 0
        while self._waiting and count + len(self._waiting[0].entries) <= ENTRIES_PER_RECORD_MAX:
            taken.append(self._waiting.pop(0))
            count += len(taken[-1].entries)
        self._entries -= count
        return taken

    async def _settle(self, taken: Sequence[_Waiting]) -> None:
        entries = tuple(entry for waiting in taken for entry in waiting.entries)
        self._number += 1
        digest = blake2b(repr(entries).encode(), digest_size=16).digest()
        record = UsageRecord(REPORTER, self._epoch, self._number, digest, entries)
        try:
            await self._queue.settle([record])
        except Exception as error:  # noqa: BLE001 (handed to those who reported)
            self._epoch, self._number = self._new_epoch(), 0
            for waiting in taken:
                if not waiting.settled.done():
                    waiting.settled.set_exception(error)
            return
        for waiting in taken:
            if not waiting.settled.done():
                waiting.settled.set_result(None)
