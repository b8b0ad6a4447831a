"""A pool, a lease and its holder as a transaction sees them, and what moves their units.

Of each pool, always: `granted_limit + overage = available + leased + settled`, where `leased` is
what its leases have left, presumed or not. So `available` is what the limit leaves, or 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from control_plane.crediting.rows import LedgerId
from weighbridge.rules.lease import PoolKey, credit_pool
from weighbridge.rules.moving import BUCKETS
from weighbridge.rules.rolling import RollingUnits
from weighbridge.rules.units import COUNTER_MAX

EpochId = tuple[str, str]
"""A sidecar and one of its epochs."""


NO_RECORD: Final = COUNTER_MAX
"""What a lease closes after that ended with nothing left: no record closes it before its epoch."""


CREDITS: Final = "credits"
"""What pools of credits have for a window; no window is called so."""


class TotalPlace(NamedTuple):
    """Where the total of a window is counted: pools of several limits may share one."""

    customer: str
    resource: str
    feature: str
    window_key: str
    window_start_ms: int

    @property
    def rolling_ms(self) -> int | None:
        """The length of a rolling window; None: it is none."""
        kind, _, length = self.window_key.partition(":")
        return int(length) if kind == "rolling" else None


class HolderState(Enum):
    """Whether the leases of an epoch may be spent."""

    OPEN = "open"
    # Its term has run out: its leases stay taken until its records say what was spent.
    SUSPENDED = "suspended"
    # It stayed away for too long: its leases count as spent.
    PRESUMED = "presumed"
    # It ended, and all its records are settled.
    CLOSED = "closed"


@dataclass(slots=True)
class Pool:
    """Units of one limit in one window.

    Of a rolling window the buckets that are left begin at `rolled_ms`; the first of those that have
    units leaves at `leaves_at_ms`.
    """

    id: int
    place: TotalPlace
    limit_id: str
    window_end_ms: int | None
    granted_limit: int
    limit_units: int
    available: int
    overage: int
    settled: int
    version: int
    rolled_ms: int | None = None
    leaves_at_ms: int | None = None

    @property
    def ledger(self) -> LedgerId | None:
        """Where it is what is leased of a grant of credits: the ledger that has the grant."""
        place = self.place
        return LedgerId(place.customer, place.feature) if place.window_key == CREDITS else None

    @property
    def key(self) -> PoolKey:
        place = self.place
        if place.window_key == CREDITS:
            return credit_pool(place.customer, place.feature, int(self.limit_id))
        return PoolKey(
            place.customer, place.resource, place.feature, self.limit_id, place.window_start_ms
        )

    def give(self, units: int) -> None:
        """Take units back in: first for what a lowered limit could not withdraw, then overage."""
        withdrawn = min(units, self.granted_limit - self.limit_units)
        self.granted_limit -= withdrawn
        covered = min(units - withdrawn, self.overage)
        self.overage -= covered
        self.available += units - withdrawn - covered

    def take(self, units: int) -> None:
        """Take units that nobody asked for: past what is available, they are overage."""
        taken = min(units, self.available)
        self.available -= taken
        self.overage += units - taken

    def set_limit(self, limit: int) -> None:
        """Put in what a higher limit brings; withdraw what a lower one takes, as far as it can."""
        self.limit_units = limit
        if limit <= self.granted_limit:
            withdrawn = min(self.available, self.granted_limit - limit)
            self.available -= withdrawn
            self.granted_limit -= withdrawn
            return
        added = limit - self.granted_limit
        self.granted_limit = limit
        covered = min(added, self.overage)
        self.overage -= covered
        self.available += added - covered

    def settle(self, total: int, drawn: int) -> None:
        """Post the window's total. What leases did not give for it is taken from the pool.

        A total below 0 (an allocation of which more was released than acquired) counts as 0.
        """
        settled = max(total, 0)
        not_leased = settled - self.settled - drawn
        self.settled = settled
        if not_leased >= 0:
            self.take(not_leased)
        else:
            self.give(-not_leased)

    def settle_rolling(self, units: RollingUnits, drawn: int) -> None:
        """Post what a rolling window has in it now."""
        self.settle(units.total, drawn)
        self.rolled_ms = units.rolled_ms
        self.leaves_at_ms = units.leaves_ms


@dataclass(slots=True)
class Lease:
    """The part of a pool that one epoch of a sidecar may spend.

    `closes_after` is set once it has ended: nothing is drawn from it by records above that number.
    What is presumed spent of a rolling window comes back at `lapses_at_ms`; of what was returned,
    `lapsed` units did, and late records may draw them still.
    """

    id: int
    pool_id: int
    sidecar_id: str
    epoch: str
    granted: int
    returned: int
    drawn: int
    presumed: int
    limit_units: int
    closes_after: int | None
    lapsed: int = 0
    lapses_at_ms: int | None = None

    @property
    def holder(self) -> EpochId:
        return (self.sidecar_id, self.epoch)

    @property
    def rest(self) -> int:
        """What may still be spent, or was and is on its way."""
        return self.granted - self.returned - self.drawn - self.presumed

    def draw(self, units: int) -> int:
        """Settle units, of which there are as many: late ones from what was presumed.

        Returns how many of them had come back meanwhile.
        """
        late = max(units - self.rest, 0)
        lapsed = max(late - self.presumed, 0)
        self.presumed -= late - lapsed
        self.lapsed -= lapsed
        self.returned -= lapsed
        self.drawn += units
        return lapsed

    def return_up_to(self, returned: int) -> int:
        """Take the sidecar's word on all it ever returned; give what is new of it."""
        units = max(min(returned - self.returned, self.rest), 0)
        self.returned += units
        return units

    def take_back_beyond(self, granted: int) -> int:
        """Take back what the sidecar never got: it knows of so many units granted."""
        units = max(min(self.granted - granted, self.rest), 0)
        self.granted -= units
        return units

    def return_rest(self) -> int:
        """Give all that is left, also what was presumed spent."""
        units = self.rest + self.presumed
        self.returned += units
        self.revive()
        return units

    def presume(self, pool: Pool, now_ms: int) -> None:
        self.presumed += self.rest
        length_ms = pool.place.rolling_ms
        if length_ms is not None and self.presumed:
            # As if all of it had been spent now.
            self.lapses_at_ms = now_ms + length_ms + length_ms // BUCKETS

    def revive(self) -> None:
        self.presumed = 0
        self.lapses_at_ms = None

    def lapse(self) -> int:
        """Give what was presumed spent one window ago. The lease has ended."""
        units, self.presumed = self.presumed, 0
        self.returned += units
        self.lapsed += units
        self.lapses_at_ms = None
        if self.closes_after is None:
            self.closes_after = NO_RECORD
        return units


@dataclass(slots=True)
class Holder:
    """An epoch that has leases; they live and die together."""

    sidecar_id: str
    epoch: str
    state: HolderState
    until_ms: int
    closes_after: int | None
    may_have_lost: bool
    created_at_ms: int
    seen_at_ms: int

    @property
    def id(self) -> EpochId:
        return (self.sidecar_id, self.epoch)

    def ends_at(self, mark: int) -> bool:
        """Whether it has ended once records are settled up to the mark."""
        return (
            self.state is not HolderState.CLOSED
            and self.closes_after is not None
            and self.closes_after <= mark
        )


class Gain(NamedTuple):
    """A pool that has more than before, and how much now."""

    pool: PoolKey
    available: int
