"""Does the lease work of one transaction: hellos, terms, returns, and then what is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, select

from control_plane.granting.limits import FoundLimit, LimitFinder
from control_plane.granting.pools import open_pools
from control_plane.granting.work import (
    Asking,
    Elsewhere,
    Granted,
    LeaseNow,
    LeasesPosted,
    LeaseWork,
    Short,
    Shortage,
    Want,
)
from control_plane.leasing.accounts import EpochId, HolderState, Lease, Pool, PoolKey
from control_plane.leasing.book import LeaseBook
from control_plane.leasing.holding import (
    HolderClaim,
    LeaseTerms,
    make_holder,
    renew,
    take_claims,
    take_returns,
    tick,
)
from control_plane.metering.counters import CounterCache
from control_plane.metering.epochs import settled_marks
from control_plane.metering.records import EpochKey
from control_plane.storage.tables import lease
from weighbridge.rules.units import COUNTER_MAX

SHARES_PER_HOLDER: Final = 2
"""A sidecar gets at most its part of what is available, divided by this: others come too."""

LEASE_ID_BITS: Final = 63
HELD_ELSEWHERE_MAX: Final = 1_000
_IDS_PER_QUERY: Final = 500

HeldKey = tuple[int, str, str]
"""A pool, a sidecar and its epoch."""


class Granter:
    """For one thread at a time: it remembers limits."""

    def __init__(self, random: Random, terms: LeaseTerms) -> None:
        self._random = random
        self._terms = terms
        self._limits = LimitFinder()

    def post(
        self, connection: Connection, work: LeaseWork, cache: CounterCache, now_ms: int
    ) -> LeasesPosted:
        """Do the work. What gives units back goes first."""
        posted = LeasesPosted(now_ms)
        book = LeaseBook(connection)
        self._take_in(book, work, posted)
        posted.gains = book.write(now_ms)
        if work.askings:
            _Granting(self, book, cache, posted).answer(work.askings)
        posted.holders = set(book.holders)
        return posted

    def _take_in(self, book: LeaseBook, work: LeaseWork, posted: LeasesPosted) -> None:
        now_ms, terms = posted.now_ms, self._terms
        if work.claims:
            marks = _marks(book, work.claims)
            kept = take_claims(book, work.claims, marks, now_ms, terms)
            held: dict[EpochId, list[LeaseNow]] = defaultdict(list)
            for each in kept:
                held[each.holder].append(_lease_now(each, book.pools[each.pool_id]))
            posted.held = {epoch: tuple(leases) for epoch, leases in held.items()}
        alive = work.renewed.union(asking.epoch for asking in work.askings)
        renew(book, book.load_holders(alive), now_ms, terms)
        for epoch, returned in work.returns:
            take_returns(book, dict(returned), dict.fromkeys((id_ for id_, _ in returned), epoch))
        if work.is_tick:
            posted.may_have_more = tick(book, now_ms, terms)

    def limits_of(
        self, connection: Connection, cache: CounterCache, keys: set[PoolKey], now_ms: int
    ) -> dict[PoolKey, FoundLimit]:
        """Return the limits that there are of these pools."""
        cache.refresh(connection, {key.customer for key in keys})
        found = ((key, self._limits.find(cache, key, now_ms)) for key in keys)
        return {key: limit for key, limit in found if limit is not None}

    def new_lease(self, pool: Pool, epoch: EpochId) -> Lease:
        id_ = self._random.getrandbits(LEASE_ID_BITS) or COUNTER_MAX
        return Lease(id_, pool.id, *epoch, 0, 0, 0, 0, pool.limit_units, None)

    def open_holder(self, book: LeaseBook, epoch: EpochId, now_ms: int) -> bool:
        """Have the epoch hold leases; False where it has ended."""
        holder = book.holders.get(epoch) or make_holder(book, epoch, now_ms, self._terms)
        return holder.state is not HolderState.CLOSED and holder.closes_after is None


class _Granting:
    """Answers what is asked for in one transaction."""

    def __init__(
        self, granter: Granter, book: LeaseBook, cache: CounterCache, posted: LeasesPosted
    ) -> None:
        self._granter = granter
        self._book = book
        self._cache = cache
        self._posted = posted
        self._pools: dict[PoolKey, Pool] = {}
        self._held: dict[HeldKey, Lease] = {}
        self._claimants: dict[int, set[EpochId]] = {}

    def answer(self, askings: Sequence[Asking]) -> None:
        book, now_ms = self._book, self._posted.now_ms
        keys = {want.pool for asking in askings for want in asking.wants}
        limits = self._granter.limits_of(book.connection, self._cache, keys, now_ms)
        self._pools = open_pools(book, limits, now_ms)
        self._held = book.load_held(
            (pool.id, *asking.epoch)
            for asking in askings
            for want in asking.wants
            if (pool := self._pools.get(want.pool)) is not None
        )
        self._claimants = self._claimants_of(askings)
        short: dict[int, tuple[PoolKey, ...]] = {}
        answers: list[Granted | Short] = []
        for index, asking in enumerate(askings):
            lacking = self._lacking(asking)
            if lacking:
                short[index] = lacking
                answers.append(Short(()))
            else:
                answers.append(self._grant(asking))
        # The pools' rows, and those who may hold their leases, come before the leases.
        self._posted.gains += book.write(now_ms)
        if short:
            shortages = self._shortages({key for lacking in short.values() for key in lacking})
            for index, lacking in short.items():
                answers[index] = Short(tuple(shortages[key] for key in lacking))
        self._posted.answers = answers

    def _claimants_of(self, askings: Iterable[Asking]) -> dict[int, set[EpochId]]:
        """Return who holds units of each pool, or asks for some."""
        claimants: dict[int, set[EpochId]] = {pool.id: set() for pool in self._pools.values()}
        for pool_id, *epoch in self._holding(select(lease.c.pool_id, *_EPOCH), claimants):
            claimants[pool_id].add((epoch[0], epoch[1]))
        for asking in askings:
            for want in asking.wants:
                pool = self._pools.get(want.pool)
                if pool is not None:
                    claimants[pool.id].add(asking.epoch)
        return claimants

    def _lacking(self, asking: Asking) -> tuple[PoolKey, ...]:
        lacking = []
        for want in asking.wants:
            pool = self._pools.get(want.pool)
            if pool is None or pool.available < want.units_min:
                lacking.append(want.pool)
        if not lacking and not self._granter.open_holder(
            self._book, asking.epoch, self._posted.now_ms
        ):
            return tuple(want.pool for want in asking.wants)
        return tuple(lacking)

    def _grant(self, asking: Asking) -> Granted:
        leases = []
        for want in asking.wants:
            pool = self._pools[want.pool]
            key = (pool.id, *asking.epoch)
            units = self._size(want, pool)
            held = self._held.get(key)
            if held is None:
                if not units:
                    continue
                held = self._held[key] = self._granter.new_lease(pool, asking.epoch)
                self._book.leases.add(held)
            pool.available -= units
            held.granted += units
            held.limit_units = pool.limit_units
            self._posted.units_granted += units
            leases.append(_lease_now(held, pool))
        return Granted(tuple(leases))

    def _size(self, want: Want, pool: Pool) -> int:
        share = pool.available // (SHARES_PER_HOLDER * len(self._claimants[pool.id]))
        return min(want.units, pool.available, max(share, want.units_min, 1))

    def _shortages(self, keys: set[PoolKey]) -> dict[PoolKey, Shortage]:
        found = {}
        pools = {key: pool for key in keys if (pool := self._pools.get(key)) is not None}
        held = self._held_elsewhere([pool.id for pool in pools.values()])
        for key in keys:
            pool = pools.get(key)
            if pool is None:
                found[key] = Shortage(key, 0, 0, None, is_leased=False)
            else:
                found[key] = Shortage(
                    key, pool.available, pool.limit_units, pool.window_end_ms, tuple(held[pool.id])
                )
        return found

    def _held_elsewhere(self, pools: Iterable[int]) -> defaultdict[int, list[Elsewhere]]:
        held: defaultdict[int, list[Elsewhere]] = defaultdict(list)
        query = select(lease.c.pool_id, lease.c.id, *_EPOCH, _REST)
        for pool_id, id_, sidecar_id, epoch, units in self._holding(query, pools):
            if len(held[pool_id]) < HELD_ELSEWHERE_MAX:
                held[pool_id].append(Elsewhere(id_, (sidecar_id, epoch), units))
        return held

    def _holding(self, query: Any, pools: Iterable[int]) -> Iterator[Any]:
        """Select from leases of pools that have units left."""
        ids = list(pools)
        for first in range(0, len(ids), _IDS_PER_QUERY):
            chunk = ids[first : first + _IDS_PER_QUERY]
            holding = query.where(lease.c.pool_id.in_(chunk), _REST > 0)
            yield from self._book.connection.execute(holding)


_EPOCH: Final = (lease.c.sidecar_id, lease.c.epoch)
_REST: Final = lease.c.granted - lease.c.returned - lease.c.drawn - lease.c.presumed


def _lease_now(held: Lease, pool: Pool) -> LeaseNow:
    return LeaseNow(held.id, pool.key, held.granted, held.limit_units)


def _marks(book: LeaseBook, claims: Iterable[HolderClaim]) -> dict[EpochId, int]:
    """Return how far every epoch with leases of these sidecars is settled."""
    epochs = {holder.id for holder in book.load_holders_of({claim.epoch[0] for claim in claims})}
    marks = settled_marks(book.connection, (EpochKey(*epoch) for epoch in epochs))
    return {(mark.sidecar_id, mark.epoch): mark.number for mark in marks}
