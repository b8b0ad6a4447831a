"""Pools, leases and holders of one transaction: read in bulk, changed as values, written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Connection,
    Dialect,
    Select,
    column,
    exists,
    func,
    literal_column,
    select,
)

from control_plane.leasing.accounts import (
    EpochId,
    Gain,
    Holder,
    HolderState,
    Lease,
    Pool,
    TotalPlace,
)
from control_plane.leasing.credits import CreditNotes
from control_plane.leasing.rolling import RollingBuckets
from control_plane.storage.lease_tables import lease, lease_holder, lease_pool
from control_plane.storage.rows import (
    Prepared,
    chunks_filled,
    insert_rows,
    prepare_list,
    rows_by_key,
    size_of,
    update_rows,
    wanted_rows,
)

_PLACE: Final = ("customer_id", "resource_id", "feature_id", "window_key", "window_start_ms")
_HOLDER: Final = ("sidecar_id", "epoch")

_POOL_NEW: Final = tuple(c.name for c in lease_pool.columns if c.name != "id")
_POOL_CHANGED: Final = (
    "window_end_ms",
    "granted_limit",
    "limit_units",
    "available",
    "overage",
    "settled",
    "version",
    "rolled_ms",
    "leaves_at_ms",
    "updated_at_ms",
)
_LEASE_CHANGED: Final = (
    "granted",
    "returned",
    "drawn",
    "presumed",
    "limit_units",
    "closes_after",
    "lapsed",
    "lapses_at_ms",
    "updated_at_ms",
)
_HOLDER_CHANGED: Final = ("state", "until_ms", "closes_after", "may_have_lost", "seen_at_ms")

_HAS_POOLS: Final = select(exists(select(lease_pool.c.id)))
_AVAILABLE: Final = [each.name for each in fields(Pool)].index("available")
_HOLDER_COLUMNS: Final = [each.name for each in lease_holder.columns]
_LEASE_COLUMNS: Final = [each.name for each in lease.columns]

REST: Final = lease.c.granted - lease.c.returned - lease.c.drawn - lease.c.presumed
"""`Lease.rest`."""

KeyT = TypeVar("KeyT")
RowT = TypeVar("RowT", Pool, Lease, Holder)


class Shelf(dict[KeyT, RowT]):
    """Rows of one table by key, with what they were when they were read."""

    def __init__(self, row_type: type[RowT], key_of: Callable[[RowT], KeyT]) -> None:
        super().__init__()
        self._key_of: Callable[[RowT], KeyT] = key_of
        # All fields as a tuple: far faster than a copy to compare with, and there are thousands.
        self._cells = attrgetter(*(each.name for each in fields(row_type)))
        self._before: dict[KeyT, tuple[Any, ...] | None] = {}

    def put(self, rows: Iterable[RowT]) -> list[RowT]:
        """Take in rows read; of one that is here already, what is here stays."""
        found = []
        for row in rows:
            key = self._key_of(row)
            known = self.get(key)
            if known is None:
                known = self[key] = row
                self._before[key] = self._cells(row)
            found.append(known)
        return found

    def add(self, row: RowT) -> None:
        """Take in a row that is to be made."""
        key = self._key_of(row)
        self[key] = row
        self._before[key] = None

    def added(self) -> list[RowT]:
        return [self[key] for key, before in self._before.items() if before is None]

    def changed(self) -> list[tuple[RowT, tuple[Any, ...]]]:
        """Return rows that differ from what they were, each with that."""
        cells = self._cells
        return [
            (row, before)
            for key, row in self.items()
            if (before := self._before[key]) is not None and cells(row) != before
        ]

    def settle(self, rows: Iterable[RowT]) -> None:
        """Note that these were written."""
        for row in rows:
            self._before[self._key_of(row)] = self._cells(row)


class LeaseBook:
    """One transaction's work: load, change the values, `write`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pools: Shelf[int, Pool] = Shelf(Pool, attrgetter("id"))
        self.leases: Shelf[int, Lease] = Shelf(Lease, attrgetter("id"))
        self.holders: Shelf[EpochId, Holder] = Shelf(Holder, attrgetter("sidecar_id", "epoch"))
        self.credits = CreditNotes()
        self.buckets = RollingBuckets(connection)

    def has_pools(self) -> bool:
        """Whether anything was ever leased: where nothing was, usage costs no more than this."""
        return bool(self.connection.execute(_HAS_POOLS).scalar())

    def load_pools_at(self, places: Iterable[TotalPlace | tuple[Any, ...]]) -> list[Pool]:
        """Load every pool that counts the totals of these places."""
        found = rows_by_key(self.connection, lease_pool, _PLACE, places)
        return self.pools.put(map(_pool_from_row, found))

    def load_pools(self, ids: Iterable[int]) -> None:
        missing = [(id_,) for id_ in ids if id_ not in self.pools]
        self.pools.put(
            map(_pool_from_row, rows_by_key(self.connection, lease_pool, ("id",), missing))
        )

    def load_leases(self, ids: Iterable[int]) -> None:
        """Load leases by id, with their pools."""
        wanted = [(id_,) for id_ in ids if id_ not in self.leases]
        self._put_leases(rows_by_key(self.connection, lease, ("id",), wanted))

    def load_leases_of(self, holders: Iterable[EpochId]) -> list[Lease]:
        """Load every lease of epochs, with their pools."""
        return self._put_leases(rows_by_key(self.connection, lease, _HOLDER, holders))

    def load_held(
        self, wanted: Iterable[tuple[int, str, str]]
    ) -> dict[tuple[int, str, str], Lease]:
        """Load the leases that are held of pools by epochs, by (pool, sidecar, epoch)."""
        key = ("pool_id", *_HOLDER)
        found = self.leases.put(
            map(_lease_from_row, rows_by_key(self.connection, lease, key, wanted))
        )
        return {(held.pool_id, *held.holder): held for held in found if held.closes_after is None}

    def count_holding(self, pools: Iterable[int]) -> dict[int, int]:
        """Return how many hold units of each pool, where anybody does."""
        dialect = self.connection.dialect
        holding: dict[int, int] = {}
        for chunk in chunks_filled(dialect, [(id_,) for id_ in pools]):
            statement = _prepared_holding(dialect, size_of(dialect, chunk))
            found = self.connection.exec_driver_sql(statement.text, statement.of_rows(chunk))
            holding.update((pool_id, count) for pool_id, count in found)
        return holding

    def load_ending(self, holders: Iterable[EpochId]) -> list[Lease]:
        """Load the leases of epochs that these hold no more, but that have units left."""
        found: list[Lease] = []
        for sidecar_id, epoch in holders:
            query = select(lease).where(
                lease.c.sidecar_id == sidecar_id,
                lease.c.epoch == epoch,
                lease.c.closes_after.is_not(None),
                lease.c.granted > lease.c.returned + lease.c.drawn,
            )
            found += self._put_leases(self._rows(query))
        return found

    def load_holders(self, epochs: Iterable[EpochId]) -> list[Holder]:
        found = rows_by_key(self.connection, lease_holder, _HOLDER, epochs)
        return self.holders.put(map(_holder_from_row, found))

    def load_holders_of(self, sidecars: Iterable[str]) -> list[Holder]:
        """Load every epoch of sidecars that has not ended."""
        wanted = [(sidecar_id,) for sidecar_id in sidecars]
        found = map(
            _holder_from_row, rows_by_key(self.connection, lease_holder, ("sidecar_id",), wanted)
        )
        return self.holders.put(row for row in found if row.state is not HolderState.CLOSED)

    def load_leaving(self, now_ms: int, count: int) -> list[Pool]:
        """Load pools of rolling windows that units have left by now, the longest first."""
        query = (
            select(lease_pool)
            .where(lease_pool.c.leaves_at_ms <= now_ms)
            .order_by(lease_pool.c.leaves_at_ms)
            .limit(count)
        )
        return self.pools.put(map(_pool_from_row, self._rows(query)))

    def load_lapsing(self, now_ms: int, count: int) -> list[Lease]:
        """Load leases of rolling windows that were presumed spent one window ago."""
        query = (
            select(lease)
            .where(lease.c.lapses_at_ms <= now_ms)
            .order_by(lease.c.lapses_at_ms)
            .limit(count)
        )
        return self._put_leases(self._rows(query))

    def load_overdue(self, state: HolderState, until_ms: int, count: int) -> list[Holder]:
        """Load epochs in a state whose terms ran out by an instant, the longest first.

        Not those that this transaction has renewed.
        """
        query = (
            select(lease_holder)
            .where(lease_holder.c.state == state.value, lease_holder.c.until_ms <= until_ms)
            .order_by(lease_holder.c.until_ms)
            .limit(count)
        )
        found = self.holders.put(map(_holder_from_row, self._rows(query)))
        return [each for each in found if each.state is state and each.until_ms <= until_ms]

    def return_all(self, leases: Iterable[Lease]) -> None:
        """Give back all that leases have left."""
        for held in leases:
            self.pools[held.pool_id].give(held.return_rest())

    def close(self, holder: Holder, now_ms: int) -> None:
        """End an epoch all of whose records are settled, as far as there are any left."""
        holder.state = HolderState.CLOSED
        leases = self.load_leases_of([holder.id])
        for held in leases:
            held.closes_after = holder.closes_after
        if not holder.may_have_lost:
            self.return_all(leases)
            return
        self.presume(leases, now_ms)

    def presume(self, leases: Iterable[Lease], now_ms: int) -> None:
        """Count all that leases have left as spent."""
        for held in leases:
            held.presume(self.pools[held.pool_id], now_ms)

    def write(self, now_ms: int) -> list[Gain]:
        """Store what changed; return the pools that have more available than when they were read.

        What was read stays loaded.
        """
        credit_gains = self.credits.post(
            self.connection, self.pools.values(), self.leases.changed, now_ms
        )
        pools = self.pools.changed()
        gains = [
            Gain(pool.key, pool.available)
            for pool, before in pools
            if pool.available > before[_AVAILABLE]
        ]
        gains += credit_gains
        self._write_pools([pool for pool, _ in pools], now_ms)
        self.buckets.write()
        self._write_holders()
        self._write_leases(now_ms)
        return gains

    def make_pools(self, pools: Sequence[Pool], now_ms: int) -> list[Pool]:
        """Store new pools at once, and load them: their ids are the database's."""
        rows = (
            (*pool.place, pool.limit_id, pool.window_end_ms, *_terms(pool), now_ms)
            for pool in pools
        )
        insert_rows(self.connection, lease_pool, _POOL_NEW, rows)
        return self.load_pools_at({pool.place for pool in pools})

    def _put_leases(self, rows: Iterable[Sequence[Any]]) -> list[Lease]:
        found = self.leases.put(map(_lease_from_row, rows))
        self.load_pools({held.pool_id for held in found})
        return found

    def _rows(self, query: Select[Any]) -> list[Sequence[Any]]:
        return [tuple(row) for row in self.connection.execute(query)]

    def _write_pools(self, pools: Sequence[Pool], now_ms: int) -> None:
        rows = []
        for pool in pools:
            pool.version += 1
            rows.append((pool.window_end_ms, *_terms(pool), now_ms, pool.id))
        update_rows(self.connection, lease_pool, _POOL_CHANGED, ("id",), rows)
        self.pools.settle(pools)

    def _write_holders(self) -> None:
        added = self.holders.added()
        changed = [holder for holder, _ in self.holders.changed()]
        insert_rows(
            self.connection,
            lease_holder,
            _HOLDER_COLUMNS,
            ((*row.id, *_state(row), row.created_at_ms, row.seen_at_ms) for row in added),
        )
        rows = ((*_state(row), row.seen_at_ms, *row.id) for row in changed)
        update_rows(self.connection, lease_holder, _HOLDER_CHANGED, _HOLDER, rows)
        self.holders.settle((*added, *changed))

    def _write_leases(self, now_ms: int) -> None:
        added = self.leases.added()
        changed = [held for held, _ in self.leases.changed()]
        # Before new ones are made: a lease that ended makes place for the next one.
        rows = ((*_counters(held), now_ms, held.id) for held in changed)
        update_rows(self.connection, lease, _LEASE_CHANGED, ("id",), rows)
        insert_rows(
            self.connection,
            lease,
            _LEASE_COLUMNS,
            ((held.id, held.pool_id, *held.holder, *_counters(held), now_ms) for held in added),
        )
        self.leases.settle((*added, *changed))


@lru_cache(maxsize=16)
def _prepared_holding(dialect: Dialect, size: int) -> Prepared:
    wanted = wanted_rows([column("id", BigInteger)], size)
    # A literal: the parameters are the cells alone.
    is_holding = literal_column("0") < REST
    query: Select[Any] = (
        select(lease.c.pool_id, func.count())
        # Not joined: a row that fills the list up must not count twice.
        .where(lease.c.pool_id.in_(select(wanted.c.id)), is_holding)
        .group_by(lease.c.pool_id)
    )
    return prepare_list(dialect, query, ("id",))


def _terms(pool: Pool) -> tuple[int | None, ...]:
    return (
        pool.granted_limit,
        pool.limit_units,
        pool.available,
        pool.overage,
        pool.settled,
        pool.version,
        pool.rolled_ms,
        pool.leaves_at_ms,
    )


def _counters(held: Lease) -> tuple[int | None, ...]:
    return (
        held.granted,
        held.returned,
        held.drawn,
        held.presumed,
        held.limit_units,
        held.closes_after,
        held.lapsed,
        held.lapses_at_ms,
    )


def _state(holder: Holder) -> tuple[object, ...]:
    return (holder.state.value, holder.until_ms, holder.closes_after, holder.may_have_lost)


def _pool_from_row(row: Sequence[Any]) -> Pool:
    id_, customer, resource, feature, window_key, start_ms, limit_id, end_ms, *terms, _ = row
    place = TotalPlace(customer, resource, feature, window_key, start_ms)
    return Pool(id_, place, limit_id, end_ms, *terms)


def _lease_from_row(row: Sequence[Any]) -> Lease:
    return Lease(*row[:-1])


def _holder_from_row(row: Sequence[Any]) -> Holder:
    sidecar_id, epoch, state, until_ms, closes_after, may_have_lost, *instants = row
    state, may_have_lost = HolderState(state), bool(may_have_lost)
    return Holder(sidecar_id, epoch, state, until_ms, closes_after, may_have_lost, *instants)
