"""Leases: units of hard limits that this sidecar may spend alone.

Both sides only count up (docs/adr/0015): the control plane what it granted, this sidecar what it
gave back, and records what was drawn. What may be spent is granted - returned - drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from weighbridge.rules.lease import PoolKey, is_low

MARGIN_MS: Final = 2_000
"""How long before the term of leases runs out they are no longer spent."""

IDLE_MS: Final = 60_000
"""A lease that nothing was drawn from for this long is given back; sooner where others want it."""

NEVER_MS: Final = 2**62


class Refusal(NamedTuple):
    """Why no more is granted: what the pool has left, under which limit, and until when it holds.

    As many units as were lacking have left a rolling window at `returns_ms`; 0: that is not known.
    Instants are CLOCK_BOOTTIME milliseconds.
    """

    available: int
    unreachable: int
    limit: int
    lapses_ms: int
    returns_ms: int = 0


class Take(NamedTuple):
    """Units that a call draws from a pool, in the pool's own unit."""

    pool: Pool
    units: int


class Lack(NamedTuple):
    """Units of a pool that are not here. `limit` is the one in the snapshot applied.

    Of the call's amount, what is here covers `covered`.
    """

    pool: Pool
    units: int
    limit: int
    covered: int


class Returned(NamedTuple):
    """All that was ever given back of a lease, of what was granted; and whether it has ended."""

    lease_id: int
    units: int
    granted: int
    has_ended: bool = False


class Pool:
    """What this sidecar knows of a pool, and its lease of it.

    `remaining` is kept and not worked out, for it is looked at in every call. `end_ms` is the end
    of the window on the control plane's clock.
    """

    __slots__ = (
        "asked",
        "basis",
        "drawn",
        "end_ms",
        "filled_to",
        "granted",
        "is_current",
        "is_exact",
        "is_money",
        "key",
        "lease_id",
        "limit",
        "put_back",
        "refusal",
        "remaining",
        "returned",
        "spent",
        "spent_since_ms",
        "used_ms",
    )

    def __init__(self, key: PoolKey, end_ms: int, boot_ms: int) -> None:
        self.key = key
        self.end_ms = end_ms
        # Whether its units are micros of money.
        self.is_money = False
        self.lease_id = 0
        self.limit = 0
        self.granted = 0
        self.returned = 0
        self.drawn = 0
        self.remaining = 0
        self.filled_to = 0
        # Units that records put back which are not settled, by their numbers: on the way up they
        # are drawn still, and must not be said to be returned before.
        self.put_back: dict[int, int] = {}
        self.refusal: Refusal | None = None
        # What its limit followed from when it was last looked at; whether units were granted since.
        self.basis: tuple[object, ...] = ()
        self.is_current = False
        # Only what calls wait for is asked for, and nothing is kept.
        self.is_exact = False
        # Requests on their way.
        self.asked = 0
        # Drawn since the last grant, which says how much to ask for.
        self.spent = 0
        self.spent_since_ms = boot_ms
        self.used_ms = boot_ms

    @property
    def returned_for_sure(self) -> int:
        """What was given back, whatever of the records on their way is settled first."""
        return max(self.returned - sum(self.put_back.values()), 0)

    @property
    def is_busy(self) -> bool:
        """Whether it has to stay, also where it is idle."""
        return bool(self.asked or self.put_back)

    def ended(self) -> None:
        """Take in that its lease has ended."""

    def take_grant(self, lease_id: int, granted: int, limit: int, boot_ms: int) -> None:
        """Take in the lease as the control plane has it; an older state changes nothing."""
        if lease_id != self.lease_id:
            self.lease_id = lease_id
            self.granted = self.returned = self.drawn = 0
            self.put_back.clear()
        self.limit = limit
        if granted > self.granted:
            self.granted = granted
            self.is_current = True
            self.refusal = None
            self.remaining = self.granted - self.returned - self.drawn
            self.filled_to = 0 if self.is_exact else self.remaining
            self.spent = 0
            self.spent_since_ms = boot_ms

    def give_back(self) -> bool:
        """Give back all that is not drawn; say whether there was any."""
        if not self.remaining:
            return False
        self.returned += self.remaining
        self.remaining = 0
        self.filled_to = 0
        return True

    def refuses(self, limit: int, units: int, boot_ms: int) -> Refusal | None:
        """Return the refusal that covers so many units under a limit, if one holds."""
        refusal = self.refusal
        if refusal is None:
            return None
        if boot_ms >= refusal.lapses_ms or limit > refusal.limit:
            self.refusal = None
            return None
        return refusal if units > refusal.available else None


class Leases:
    """All pools that this sidecar has to do with. Owned by the gate's thread."""

    def __init__(self) -> None:
        self._pools: dict[PoolKey, Pool] = {}
        self._by_lease: dict[int, Pool] = {}
        # Until when leases may be spent.
        self.term_ends_ms = 0
        # Pools to refill.
        self.low: dict[Pool, None] = {}
        # What the control plane is to be told of leases: what was given back, and which ended.
        self.unreported: dict[int, Returned] = {}
        # Pools that units were put back to by records that are not settled.
        self._unsettled: dict[Pool, None] = {}
        # Units were released that count in pools once their records are settled: those go before
        # anything is asked for.
        self.has_released = False

    def __len__(self) -> int:
        return len(self._by_lease)

    def pools(self) -> Iterable[Pool]:
        """Return every pool."""
        return self._pools.values()

    def held(self) -> Iterator[Pool]:
        """Iterate over the pools of which a lease is held."""
        return (pool for pool in self._by_lease.values())

    def open(self, key: PoolKey, end_ms: int | None, boot_ms: int) -> Pool:
        """Return the pool, made where it is new."""
        pool = self._pools.get(key)
        if pool is None:
            pool = Pool(key, NEVER_MS if end_ms is None else end_ms, boot_ms)
            self._pools[key] = pool
        return pool

    def put(self, pool: Pool) -> None:
        """Keep a pool that is new."""
        self._pools[pool.key] = pool

    def find(self, key: PoolKey) -> Pool | None:
        """Return the pool, where it is known."""
        return self._pools.get(key)

    def is_held(self, pool: Pool, lease_id: int) -> bool:
        """Whether that lease of the pool is held still."""
        return self._by_lease.get(lease_id) is pool

    def takes_back(self, pool: Pool, lease_id: int) -> bool:
        """Whether units of that lease may be spent again, once they are put back.

        Not where the limit follows from something else by now: others may have spent meanwhile
        what a higher one left. And not where nothing is kept.
        """
        return pool.is_current and not pool.is_exact and self.is_held(pool, lease_id)

    def spendable(self, pool: Pool, limit: int, boot_ms: int) -> int:
        """Return how many units may be spent now, under the limit of the snapshot applied."""
        if boot_ms >= self.term_ends_ms or pool.limit > limit:
            return 0
        return pool.remaining

    def rebase(self, pool: Pool, basis: tuple[object, ...]) -> None:
        """Give units back that were granted when the limit followed from something else.

        The limit may be the same again, and have been higher meanwhile: then others may have spent
        more than it leaves.
        """
        if pool.basis:
            self.give_back(pool)
        pool.basis = basis
        pool.is_current = False

    def draw(self, pool: Pool, units: int, boot_ms: int) -> None:
        """Take units for a record; there are as many."""
        pool.drawn += units
        pool.remaining -= units
        pool.spent += units
        pool.used_ms = boot_ms
        if not pool.asked and is_low(pool.remaining, pool.filled_to):
            self.low[pool] = None

    def draw_all(self, takes: Sequence[Take], draws: dict[int, int], boot_ms: int) -> None:
        """Do what a call takes, and add it to what its record draws: `draw`, on the hot path.

        What is below 0 was put back already.
        """
        for pool, units in takes:
            if units >= 0:
                pool.drawn += units
                pool.remaining = remaining = pool.remaining - units
                pool.spent += units
                pool.used_ms = boot_ms
                if not pool.asked and is_low(remaining, pool.filled_to):
                    self.low[pool] = None
            lease_id = pool.lease_id
            draws[lease_id] = draws.get(lease_id, 0) + units

    def undraw(self, pool: Pool, units: int) -> None:
        """Undo a draw: its record could not be written."""
        pool.drawn -= units
        pool.remaining += units
        pool.spent -= units

    def put_back(self, pool: Pool, units: int, number: int) -> None:
        """Take units back that a hold drew and did not need; the record of that number says so."""
        pool.drawn -= units
        pool.remaining += units
        pool.put_back[number] = pool.put_back.get(number, 0) + units
        self._unsettled[pool] = None

    def release(self, pool: Pool, units: int, number: int) -> bool:
        """Take units of an allocation back that this lease gave; False where others gave them.

        Then they are the pool's again once their record is settled.
        """
        if pool.drawn < units or not self.takes_back(pool, pool.lease_id):
            pool.refusal = None
            return False
        self.put_back(pool, units, number)
        return True

    def settled(self, number: int) -> None:
        """Take in that all records up to the number are settled."""
        for pool in tuple(self._unsettled):
            before = pool.returned_for_sure
            pool.put_back = {n: units for n, units in pool.put_back.items() if n > number}
            if not pool.put_back:
                del self._unsettled[pool]
            if pool.returned_for_sure > before and self.is_held(pool, pool.lease_id):
                self._report(pool)

    def take_grant(
        self, key: PoolKey, lease_id: int, counters: tuple[int, int], boot_ms: int
    ) -> None:
        """Take in a lease: what was granted of it in all, and under which limit."""
        granted, limit = counters
        pool = self.open(key, None, boot_ms)
        before = pool.lease_id
        if before and before != lease_id:
            self._by_lease.pop(before, None)
        pool.take_grant(lease_id, granted, limit, boot_ms)
        self._by_lease[lease_id] = pool

    def refuse(self, key: PoolKey, refusal: Refusal) -> None:
        """Take in that a pool has no more to give."""
        pool = self._pools.get(key)
        if pool is not None:
            pool.refusal = refusal

    def lift(self, key: PoolKey) -> None:
        """Take in that units came back to a pool."""
        pool = self._pools.get(key)
        if pool is not None:
            pool.refusal = None

    def give_back(self, pool: Pool) -> None:
        """Give back what is not drawn of a pool's lease."""
        if pool.give_back():
            self._report(pool)

    def recall(self, lease_ids: Iterable[int]) -> None:
        """Give back what others wait for. Every lease named is told of, also with nothing left."""
        for lease_id in lease_ids:
            pool = self._by_lease.get(lease_id)
            if pool is not None:
                pool.give_back()
                self._report(pool)

    def keep_nothing(self, pools: Iterable[Pool]) -> None:
        """Give back what no call took that waited, of pools in which nothing is kept."""
        for pool in pools:
            if pool.is_exact:
                pool.refusal = None
                self.give_back(pool)

    def give_back_all(self) -> None:
        """Give everything back: this sidecar stops."""
        for pool in self._by_lease.values():
            self.give_back(pool)

    def begin_term(self, ends_ms: int, boot_ms: int) -> None:
        """Allow leases to be spent until then.

        Where a term had run out, what was held may have been presumed spent, and have come back to
        a rolling window since: none of it is spent any more.
        """
        if self.term_ends_ms <= boot_ms:
            for pool in tuple(self._by_lease.values()):
                if pool.asked or pool.put_back:
                    self.give_back(pool)
                else:
                    self._end(pool)
        self.term_ends_ms = max(self.term_ends_ms, ends_ms)

    def begin_stream(self) -> None:
        """Forget what was asked on the stream before, and what was refused on it."""
        self.unreported.clear()
        for pool in self._pools.values():
            pool.asked = 0
            pool.refusal = None

    def forget_all(self) -> None:
        """Drop every lease: a new epoch begins, or the control plane knows none of them."""
        self._pools.clear()
        self._by_lease.clear()
        self.low.clear()
        self.unreported.clear()
        self._unsettled.clear()

    def tidy(self, now_ms: int, boot_ms: int) -> None:
        """End the leases that are idle, or whose window is over, and forget their pools."""
        for pool in tuple(self._pools.values()):
            if (now_ms >= pool.end_ms or boot_ms - pool.used_ms >= IDLE_MS) and not pool.is_busy:
                self._end(pool)

    def _end(self, pool: Pool) -> None:
        pool.give_back()
        pool.ended()
        del self._pools[pool.key]
        self.low.pop(pool, None)
        if self._by_lease.pop(pool.lease_id, None) is not None:
            # What it drew is in records, so its counters need not be kept.
            ended = Returned(pool.lease_id, pool.returned, pool.granted, has_ended=True)
            self.unreported[pool.lease_id] = ended

    def _report(self, pool: Pool) -> None:
        returned = Returned(pool.lease_id, pool.returned_for_sure, pool.granted)
        self.unreported[pool.lease_id] = returned
