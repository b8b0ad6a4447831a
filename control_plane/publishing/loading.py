"""Reads what sidecars are to be sent. Requests that come together share one transaction."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from control_plane.metering.counters import Counter, CounterCache
from control_plane.metering.epochs import settled_marks
from control_plane.metering.records import EpochKey, RecordMark
from control_plane.metering.totals import (
    WindowTotal,
    counters_changed_since,
    current_usage_revision,
    read_current,
    used_counters,
)
from control_plane.provisioning import CatalogLibrary, current_revision
from control_plane.storage.database import Database
from weighbridge.rules.catalog import Customer, CustomerStatus


class LoadedCustomer(NamedTuple):
    """A customer with the totals of its current windows, those of 0 left out."""

    customer: Customer
    totals: tuple[WindowTotal, ...]


class Loaded(NamedTuple):
    """Customers and marks from one consistent view of the database."""

    customers: dict[str, LoadedCustomer]
    marks: dict[EpochKey, RecordMark]
    revision: int
    usage_revision: int
    ancestors: dict[str, tuple[str, ...]]

    def above(self, customers: Iterable[str]) -> list[str]:
        """Return everybody above these customers and not among them, the topmost first."""
        named = set(customers)
        return list(
            dict.fromkeys(
                ancestor
                for customer in customers
                for ancestor in reversed(self.ancestors.get(customer, ()))
                if ancestor not in named
            )
        )


FeatureKey = tuple[str, str]
"""A resource of a customer, "" for itself, and a feature."""


class FeatureTotals(NamedTuple):
    """Totals of all current windows of one feature, and the usage revision of their last change."""

    usage_revision: int
    totals: tuple[WindowTotal, ...]


class ChangedTotals(NamedTuple):
    """Totals that changed, by customer and feature, and marks, from one consistent view."""

    totals: dict[str, dict[FeatureKey, FeatureTotals]]
    marks: dict[EpochKey, RecordMark]
    usage_revision: int


class SnapshotReader:
    """Reads what changed, or customers whole. For one thread at a time."""

    def __init__(self, library: CatalogLibrary, now_ms: Callable[[], int]) -> None:
        self._cache = CounterCache(library)
        self._now_ms = now_ms

    def load(
        self, connection: Connection, customers: Iterable[str], epochs: Iterable[EpochKey]
    ) -> Loaded:
        """Read customers whole."""
        self._cache.refresh(connection, wanted := set(customers))
        found = [counters for name in wanted if (counters := self._cache.find(name)) is not None]
        active = [each for each in found if each.customer.status is CustomerStatus.ACTIVE]
        counted = used_counters(connection, active)
        totals = read_current(connection, counted, self._now_ms())
        return Loaded(
            {
                counters.customer.id: LoadedCustomer(
                    counters.customer, _without_zeros(totals.get(counters.customer.id, ()))
                )
                for counters in found
            },
            _marks(connection, epochs),
            current_revision(connection),
            current_usage_revision(connection),
            {counters.customer.id: counters.ancestors for counters in found if counters.ancestors},
        )

    def changed_totals(
        self, connection: Connection, usage_revision: int, epochs: Iterable[EpochKey]
    ) -> ChangedTotals:
        """Read the totals of every feature of which one changed after the usage revision."""
        current = current_usage_revision(connection)
        changed: dict[Counter, int] = {}
        if current != usage_revision:
            changed = counters_changed_since(connection, usage_revision)
        by_customer: dict[str, list[Counter]] = defaultdict(list)
        for counter in changed:
            by_customer[counter.customer].append(counter)
        self._cache.refresh(connection, by_customer)
        wanted = [
            (counters, counted)
            for customer, counted in by_customer.items()
            if (counters := self._cache.find(customer)) is not None
        ]
        read = read_current(connection, wanted, self._now_ms())
        totals = {customer: _by_feature(customer, of, changed) for customer, of in read.items()}
        return ChangedTotals(totals, _marks(connection, epochs), current)


def _by_feature(
    customer: str, totals: Iterable[WindowTotal], changed: Mapping[Counter, int]
) -> dict[FeatureKey, FeatureTotals]:
    grouped: dict[FeatureKey, list[WindowTotal]] = defaultdict(list)
    for total in totals:
        grouped[total.resource, total.feature].append(total)
    return {
        key: FeatureTotals(changed[Counter(customer, *key)], tuple(of))
        for key, of in grouped.items()
    }


class SnapshotLoader:
    """Loads customers for many sidecars at once: whoever asks in one turn shares one read."""

    def __init__(self, database: Database, reader: SnapshotReader) -> None:
        self._database = database
        self._reader = reader
        self._waiting: list[tuple[Sequence[str], Sequence[EpochKey], asyncio.Future[Loaded]]] = []
        self._task: asyncio.Task[None] | None = None

    async def load(self, customers: Sequence[str], epochs: Sequence[EpochKey]) -> Loaded:
        """Return customers as they are now, with the marks of the epochs."""
        future: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._waiting.append((customers, epochs, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            customers = {customer for asked, _, _ in waiting for customer in asked}
            epochs = {epoch for _, asked, _ in waiting for epoch in asked}
            try:
                loaded = await self._database.read(
                    partial(self._reader.load, customers=customers, epochs=epochs)
                )
            except Exception as error:  # noqa: BLE001 (handed to everybody who asked)
                for _, _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
                continue
            for _, _, future in waiting:
                if not future.done():
                    future.set_result(loaded)


def _marks(connection: Connection, epochs: Iterable[EpochKey]) -> dict[EpochKey, RecordMark]:
    wanted = list(epochs)
    return dict(zip(wanted, settled_marks(connection, wanted), strict=True))


def _without_zeros(totals: Iterable[WindowTotal]) -> tuple[WindowTotal, ...]:
    return tuple(total for total in totals if total.total)
