"""Does the lease work of one transaction: hellos, terms, returns, and then what is asked for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from random import Random
from typing import Final

from sqlalchemy import Connection, select

from control_plane.granting.limits import FoundLimit, LimitFinder, is_released
from control_plane.granting.newcomers import create_newcomers
from control_plane.granting.pools import open_pools
from control_plane.granting.purses import Purse, count_sharers, open_purses, refilled
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
from control_plane.leasing.accounts import EpochId, HolderState, Lease, Pool, TotalPlace
from control_plane.leasing.book import REST, LeaseBook
from control_plane.leasing.holding import (
    HolderClaim,
    LeaseTerms,
    make_holder,
    renew,
    take_claims,
    take_returns,
    tick,
)
from control_plane.leasing.lapsing import roll
from control_plane.leasing.losing import lose
from control_plane.metering.counters import CounterCache
from control_plane.metering.epochs import settled_marks
from control_plane.metering.records import EpochKey
from control_plane.storage.lease_tables import lease
from weighbridge.rules.lease import PoolKey, grantable
from weighbridge.rules.units import COUNTER_MAX

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
        self._take_in(book, work, cache, posted)
        posted.gains = book.write(now_ms)
        if work.refused:
            posted.gains += refilled(connection, work.refused, now_ms)
        if work.askings:
            _Granting(self, book, cache, posted).answer(work.askings)
        posted.holders = set(book.holders)
        return posted

    def _take_in(
        self, book: LeaseBook, work: LeaseWork, cache: CounterCache, posted: LeasesPosted
    ) -> None:
        now_ms, terms = posted.now_ms, self._terms
        if work.claims:
            marks = _marks(book, work.claims)
            take_claims(book, work.claims, marks, now_ms, terms)
        asking = {each.epoch for each in work.askings}
        for holder in book.load_holders(work.renewed | asking):
            # Who asks is alive; where the term runs anyway, the next heartbeat extends it.
            if holder.id in work.renewed or holder.state is not HolderState.OPEN:
                renew(book, [holder], now_ms, terms)
        take_returns(book, work.returns)
        if work.is_tick:
            posted.may_have_more = tick(book, now_ms)
            released_of = partial(self._released, book.connection, cache)
            lost_ms = now_ms - terms.lost_after_ms
            has_more = lose(book, lost_ms, released_of, now_ms)
            rolls_more = roll(book, now_ms, terms.lost_after_ms)
            posted.may_have_more = has_more or rolls_more or posted.may_have_more

    def _released(
        self, connection: Connection, cache: CounterCache, places: Collection[TotalPlace]
    ) -> set[TotalPlace]:
        """Return the places of features whose lost leases are given to others."""
        cache.refresh(connection, {place.customer for place in places})
        return {place for place in places if is_released(cache, place)}

    def limits_of(
        self, cache: CounterCache, keys: set[PoolKey], now_ms: int
    ) -> dict[PoolKey, FoundLimit]:
        """Return the limits that there are of these pools."""
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
        self._purses: dict[PoolKey, Purse] = {}
        self._held: dict[HeldKey, Lease] = {}
        self._sharers: Counter[int] = Counter()

    def answer(self, askings: Sequence[Asking]) -> None:
        book, now_ms = self._book, self._posted.now_ms
        keys = {want.pool for asking in askings for want in asking.wants}
        self._cache.refresh(book.connection, {key.customer for key in keys})
        self._posted.customers_created = create_newcomers(
            book.connection, self._cache, askings, now_ms
        )
        of_credits = {key for key in keys if key.credit_type}
        limits = self._granter.limits_of(self._cache, keys - of_credits, now_ms)
        self._pools = open_pools(book, limits, now_ms)
        if of_credits:
            self._purses = open_purses(book, of_credits, now_ms)
            count_sharers(book.connection, self._purses)
        wanted = {
            (pool.id, *asking.epoch)
            for asking in askings
            for want in asking.wants
            for pool in self._pools_of(want.pool)
        }
        self._held = book.load_held(wanted)
        self._sharers = self._count_sharers(wanted)
        short: dict[int, tuple[Want, ...]] = {}
        answers: list[Granted | Short] = []
        for index, asking in enumerate(askings):
            lacking = self._lacking(asking)
            if lacking:
                short[index] = lacking
                answers.append(Short(()))
            else:
                answers.append(self._grant(asking))
        for purse in self._purses.values():
            purse.save()
        # The pools' rows, and those who may hold their leases, come before the leases.
        self._posted.gains += book.write(now_ms)
        if short:
            self._tell_shortages(short, answers)
        self._posted.answers = answers

    def _count_sharers(self, wanted: Iterable[HeldKey]) -> Counter[int]:
        """Return how many hold units of each pool, or ask for some."""
        sharers = Counter(self._book.count_holding(pool.id for pool in self._pools.values()))
        for key in wanted:
            held = self._held.get(key)
            if held is None or not held.rest:
                sharers[key[0]] += 1
        return sharers

    def _lacking(self, asking: Asking) -> tuple[Want, ...]:
        lacking = []
        for want in asking.wants:
            available = self._available(want)
            if available is None or available < want.units_min:
                lacking.append(want)
        if not lacking and not self._granter.open_holder(
            self._book, asking.epoch, self._posted.now_ms
        ):
            return asking.wants
        return tuple(lacking)

    def _available(self, want: Want) -> int | None:
        """Return what there is to give; None where it is not leased."""
        if want.pool.credit_type:
            purse = self._purses.get(want.pool)
            return None if purse is None else purse.available
        pool = self._pools.get(want.pool)
        return None if pool is None else _available(pool, want)

    def _pools_of(self, key: PoolKey) -> Iterable[Pool]:
        purse = self._purses.get(key)
        if purse is not None:
            return purse.pools.values()
        pool = self._pools.get(key)
        return () if pool is None else (pool,)

    def _grant_credits(self, want: Want, epoch: EpochId) -> list[LeaseNow]:
        """Give out of a balance: a lease of each grant that it takes."""
        purse = self._purses[want.pool]
        held_before = [self._held.get((pool.id, *epoch)) for pool in purse.pools.values()]
        asks_anew = not any(held is not None and held.rest for held in held_before)
        sharers = purse.sharers + asks_anew
        units = grantable(purse.available, want.units_min, want.units, sharers)
        leases = []
        for grant, pool, carved in purse.carve(units):
            key = (pool.id, *epoch)
            held = self._held.get(key)
            if held is None:
                held = self._held[key] = self._granter.new_lease(pool, epoch)
                self._book.leases.add(held)
            held.granted += carved
            held.limit_units = 0
            self._posted.units_granted += carved
            leases.append(
                LeaseNow(held.id, pool.key, held.granted, held.limit_units, tranche=grant)
            )
        purse.sharers += asks_anew and units > 0
        return leases

    def _grant(self, asking: Asking) -> Granted:
        leases = []
        for want in asking.wants:
            if want.pool.credit_type:
                leases += self._grant_credits(want, asking.epoch)
                continue
            pool = self._pools[want.pool]
            key = (pool.id, *asking.epoch)
            sharers = self._sharers[pool.id]
            units = grantable(_available(pool, want), want.units_min, want.units, sharers)
            held = self._held.get(key)
            if held is None:
                if not units:
                    continue
                held = self._held[key] = self._granter.new_lease(pool, asking.epoch)
                self._book.leases.add(held)
            pool.available -= units
            held.granted += units
            # All that anybody holds is within this limit, so that the lease is, as a whole.
            held.limit_units = min(pool.limit_units, want.limit) if units else held.limit_units
            self._posted.units_granted += units
            leases.append(LeaseNow(held.id, want.pool, held.granted, held.limit_units))
        return Granted(tuple(leases))

    def _tell_shortages(
        self, short: dict[int, tuple[Want, ...]], answers: list[Granted | Short]
    ) -> None:
        keys = {want.pool for lacking in short.values() for want in lacking}
        held = self._held_elsewhere(pool.id for key in keys for pool in self._pools_of(key))
        for index, lacking in short.items():
            answers[index] = Short(tuple(self._shortage(want, held) for want in lacking))

    def _shortage(self, want: Want, held: Mapping[int, list[Elsewhere]]) -> Shortage:
        purse = self._purses.get(want.pool)
        if purse is not None:
            of_grants = (each for pool in purse.pools.values() for each in held[pool.id])
            left = tuple(islice(of_grants, HELD_ELSEWHERE_MAX))
            return Shortage(want.pool, purse.available, 0, purse.next_at_ms, left)
        pool = self._pools.get(want.pool)
        if pool is None:
            return Shortage(want.pool, 0, want.limit, None, is_leased=False)
        elsewhere = tuple(held[pool.id])
        available = _available(pool, want)
        shortage = Shortage(want.pool, available, want.limit, pool.window_end_ms, elsewhere)
        if pool.leaves_at_ms is None:
            return shortage
        returns_ms = self._book.buckets.of(pool).left_ms(want.units_min - available)
        return shortage._replace(leaves_ms=pool.leaves_at_ms, returns_ms=returns_ms)

    def _held_elsewhere(self, pools: Iterable[int]) -> defaultdict[int, list[Elsewhere]]:
        held: defaultdict[int, list[Elsewhere]] = defaultdict(list)
        query = select(lease.c.pool_id, lease.c.id, lease.c.sidecar_id, lease.c.epoch, REST)
        ids = list(pools)
        for first in range(0, len(ids), _IDS_PER_QUERY):
            chunk = ids[first : first + _IDS_PER_QUERY]
            holding = query.where(lease.c.pool_id.in_(chunk), REST > 0)
            for pool_id, id_, sidecar_id, epoch, units in self._book.connection.execute(holding):
                if len(held[pool_id]) < HELD_ELSEWHERE_MAX:
                    held[pool_id].append(Elsewhere(id_, (sidecar_id, epoch), units))
        return held


def _available(pool: Pool, want: Want) -> int:
    """Return what a pool has under the limit that the sidecar knows, where that is lower."""
    if pool.limit_units <= want.limit:
        return pool.available
    return max(pool.available - pool.limit_units + want.limit, 0)


def _marks(book: LeaseBook, claims: Iterable[HolderClaim]) -> dict[EpochId, int]:
    """Return how far every epoch with leases of these sidecars is settled."""
    epochs = {holder.id for holder in book.load_holders_of({claim.epoch[0] for claim in claims})}
    marks = settled_marks(book.connection, (EpochKey(*epoch) for epoch in epochs))
    return {(mark.sidecar_id, mark.epoch): mark.number for mark in marks}
