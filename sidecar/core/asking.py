"""Which units to ask the control plane for: what calls wait for, and refills. Sans-I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple

from sidecar.core.leases import Lack, Leases, Pool, Refusal, Returned
from sidecar.core.purses import TrancheTerms, open_tranche
from weighbridge.rules.lease import PoolKey, wanted_units

WANTS_PER_REQUEST_MAX: Final = 200

GroupKey = tuple[PoolKey, ...]
"""The pools that calls need together: all of them, or none."""


class Want(NamedTuple):
    """Units wanted of a pool: at least `units_min`, under a limit."""

    key: PoolKey
    units_min: int
    units: int
    limit: int


class LeaseRequest(NamedTuple):
    """What to tell the control plane; `number` 0: no answer is wanted."""

    number: int
    returned: Sequence[Returned]
    wants: Sequence[Want]


class Granted(NamedTuple):
    """A lease as an answer states it."""

    key: PoolKey
    lease_id: int
    granted: int
    limit: int
    tranche: TrancheTerms | None = None


class LeaseAnswer(NamedTuple):
    """What became of a request. The refusals' `lapses_ms` are on CLOCK_BOOTTIME already."""

    number: int
    leases: Sequence[Granted]
    refusals: Sequence[tuple[PoolKey, Refusal]]


class _Group:
    """What calls wait for: of each pool the least that helps one, and enough for all of them."""

    __slots__ = ("lacks", "least", "total")

    def __init__(self, lacks: Sequence[Lack]) -> None:
        self.lacks = lacks
        self.least = [lack.units for lack in lacks]
        self.total = [0] * len(lacks)

    def add(self, lacks: Sequence[Lack]) -> None:
        """Count one more call."""
        self.lacks = lacks
        self.least = [min(a, lack.units) for a, lack in zip(self.least, lacks, strict=True)]
        self.total = [a + lack.units for a, lack in zip(self.total, lacks, strict=True)]


class LeaseAsking:
    """The conversation about leases on one stream after the other."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._number = 0
        self._wanted: dict[GroupKey, _Group] = {}
        self._asked: dict[int, tuple[GroupKey, Sequence[Pool]]] = {}
        self._in_flight: set[GroupKey] = set()
        # Told of the pools of which something is known now that calls may wait for.
        self.on_answered: Callable[[Collection[PoolKey]], None] = _ignore
        self.requests = 0
        self.refusals = 0

    def want(self, lacks: Sequence[Lack]) -> GroupKey:
        """Ask for what a call lacks, as soon as nothing else is asked for the same pools."""
        group_key = tuple(lack.pool.key for lack in lacks)
        group = self._wanted.get(group_key)
        if group is None:
            group = self._wanted[group_key] = _Group(lacks)
        group.add(lacks)
        return group_key

    def begin_stream(self) -> None:
        """Forget what was asked before; calls that still wait ask again."""
        self._asked.clear()
        self._in_flight.clear()
        self._leases.begin_stream()

    def next_request(self, boot_ms: int) -> LeaseRequest | None:
        """Return what to tell the control plane next; None where there is nothing."""
        for group_key, group in self._wanted.items():
            if group_key not in self._in_flight:
                del self._wanted[group_key]
                return self._ask_for_group(group_key, group, boot_ms)
        low = self._take_low()
        if low:
            wants = [Want(p.key, 0, _refill(p, boot_ms), p.limit) for p in low]
            return self._request((), wants, low)
        returned = self._take_returned()
        return LeaseRequest(0, returned, ()) if returned else None

    def answered(self, answer: LeaseAnswer, boot_ms: int) -> None:
        """Take in an answer."""
        asked = self._asked.pop(answer.number, None)
        if asked is None:
            # Of an earlier stream: what it grants, the hello of this one has ended.
            return
        group_key, pools = asked
        self._in_flight.discard(group_key)
        for pool in pools:
            pool.asked -= 1
        for granted in answer.leases:
            if granted.tranche is not None:
                open_tranche(self._leases, granted.key, granted.tranche, boot_ms)
            counters = (granted.granted, granted.limit)
            self._leases.take_grant(granted.key, granted.lease_id, counters, boot_ms)
        for key, refusal in answer.refusals:
            self.refusals += 1
            self._leases.refuse(key, refusal)
        self.on_answered({*group_key, *(pool.key for pool in pools)})
        self._leases.keep_nothing(pools)

    def lifted(self, keys: Iterable[PoolKey]) -> None:
        """Take in that units came back to pools."""
        for key in keys:
            self._leases.lift(key)

    def _ask_for_group(self, group_key: GroupKey, group: _Group, boot_ms: int) -> LeaseRequest:
        wants = []
        for lack, least, total in zip(group.lacks, group.least, group.total, strict=True):
            pool = lack.pool
            if pool.limit > lack.limit:
                # Granted under a limit that was lowered since: worth nothing any more.
                self._leases.give_back(pool)
            units = total
            if not pool.is_exact:
                units = wanted_units(total, pool.spent, boot_ms - pool.spent_since_ms)
            wants.append(Want(pool.key, least, units, lack.limit))
        return self._request(group_key, wants, [lack.pool for lack in group.lacks])

    def _request(
        self, group_key: GroupKey, wants: Sequence[Want], pools: Sequence[Pool]
    ) -> LeaseRequest:
        self._number += 1
        self.requests += 1
        self._asked[self._number] = (group_key, pools)
        if group_key:
            self._in_flight.add(group_key)
        for pool in pools:
            pool.asked += 1
            self._leases.low.pop(pool, None)
        return LeaseRequest(self._number, self._take_returned(), wants)

    def _take_low(self) -> list[Pool]:
        low = []
        for pool in tuple(self._leases.low)[:WANTS_PER_REQUEST_MAX]:
            del self._leases.low[pool]
            if not pool.asked and pool.refusal is None:
                low.append(pool)
        return low

    def _take_returned(self) -> list[Returned]:
        returned = list(self._leases.unreported.values())
        self._leases.unreported.clear()
        return returned


def _refill(pool: Pool, boot_ms: int) -> int:
    return wanted_units(0, pool.spent, boot_ms - pool.spent_since_ms)


def _ignore(_keys: Collection[PoolKey]) -> None:
    return
