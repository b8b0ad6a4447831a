"""Who was refused and may be told that units came back: oldest first, bounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from itertools import islice
from typing import Final, NamedTuple

from weighbridge.rules.lease import PoolKey

ASKERS_PER_POOL_MAX: Final = 1_000
POOLS_MAX: Final = 100_000
CREDIT_POOLS_MAX: Final = 1_000


class _Refused(NamedTuple):
    """`told` is how much the sidecar was told that the pool had: calls for less it asks for."""

    units_min: int
    told: int
    until_ms: int


class RefusedAskers:
    """Sessions by pool, each with what it needed."""

    def __init__(self) -> None:
        self._by_pool: dict[PoolKey, dict[Hashable, _Refused]] = {}
        self._pools: defaultdict[Hashable, set[PoolKey]] = defaultdict(set)

    def __len__(self) -> int:
        return sum(map(len, self._by_pool.values()))

    def add(self, pool: PoolKey, session: Hashable, units: tuple[int, int], until_ms: int) -> None:
        """Remember a refusal, which lapses by itself. Past the bounds, the oldest is forgotten.

        `units` are those that were needed, and those that there were.
        """
        askers = self._by_pool.setdefault(pool, {})
        if session not in askers and len(askers) >= ASKERS_PER_POOL_MAX:
            self._remove(pool, next(iter(askers)))
        askers[session] = _Refused(*units, until_ms)
        self._pools[session].add(pool)
        if len(self._by_pool) > POOLS_MAX:
            oldest = next(iter(self._by_pool))
            for each in list(self._by_pool[oldest]):
                self._remove(oldest, each)

    def credit_pools(self) -> tuple[PoolKey, ...]:
        """Return the balances of which somebody was refused."""
        balances = (pool for pool in self._by_pool if pool.credit_type)
        return tuple(islice(balances, CREDIT_POOLS_MAX))

    def lift(self, pool: PoolKey, available: int, now_ms: int) -> list[Hashable]:
        """Take out as many as so many units serve; and those whose refusals have lapsed.

        Where they serve nobody, the next call of one sidecar may need less than what was refused.
        """
        served: list[Hashable] = []
        for session, refused in list(self._by_pool.get(pool, {}).items()):
            needed = max(refused.units_min, 1)
            if refused.until_ms <= now_ms:
                self._remove(pool, session)
            elif needed <= available or (not served and available > refused.told):
                available -= min(needed, available)
                served.append(session)
                self._remove(pool, session)
        return served

    def drop(self, session: Hashable) -> None:
        """Forget a session: a refusal holds no longer than its stream."""
        for pool in list(self._pools.get(session, ())):
            self._remove(pool, session)

    def _remove(self, pool: PoolKey, session: Hashable) -> None:
        askers = self._by_pool[pool]
        del askers[session]
        if not askers:
            del self._by_pool[pool]
        pools = self._pools[session]
        pools.discard(pool)
        if not pools:
            del self._pools[session]
