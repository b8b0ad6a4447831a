"""Rates: at most so many units per second, minute or hour, with a burst; as token buckets.

Integers only. A bucket's level is kept in units times the period's milliseconds: then each
millisecond brings exactly `limit` back, and nothing is ever rounded away. Over any span, a bucket
admits at most burst + limit * span / period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple


class RatePeriod(Enum):
    """What a rate's limit is per."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"


class RateScope(Enum):
    """Who has a rate together."""

    SIDECAR = "sidecar"
    FLEET = "fleet"


HOUR_MS: Final = 3_600_000
PARTS_PER_UNIT: Final = 1_000
_PERIOD_MS = {RatePeriod.SECOND: 1_000, RatePeriod.MINUTE: 60_000, RatePeriod.HOUR: HOUR_MS}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` units per period in the long run, and `burst` at once.

    On each sidecar, or on all of them together.
    """

    id: str
    limit: int
    period: RatePeriod
    burst: int
    scope: RateScope = RateScope.SIDECAR

    @property
    def is_shared(self) -> bool:
        """Whether all sidecars have it together."""
        return self.scope is RateScope.FLEET

    @property
    def period_ms(self) -> int:
        """The period's length."""
        return _PERIOD_MS[self.period]

    @property
    def level_max(self) -> int:
        """The level of a full bucket."""
        return self.burst * self.period_ms

    def exceeds(self, other: Rate) -> bool:
        """Whether it brings units back faster, or holds more of them."""
        is_faster = self.limit * other.period_ms > other.limit * self.period_ms
        return is_faster or self.burst > other.burst


class RateState(NamedTuple):
    """A rate and the level of its bucket now.

    Of a rate that sidecars share, `refill` is what comes back here, in thousandths of units per
    hour (None: the whole rate), and nothing passes for `wait_ms`. Not `is_held`: no share of it is
    here, so the level is only what is thought to be left.
    """

    rate: Rate
    level: int
    refill: int | None = None
    wait_ms: int = 0
    is_held: bool = True

    @property
    def remaining(self) -> int:
        """Whole units that would pass at once."""
        return self.level // self.rate.period_ms


def full(rate: Rate) -> RateState:
    """Return the state of a rate that nothing was taken from."""
    return RateState(rate, rate.level_max)


def refilled(rate: Rate, level: int, elapsed_ms: int) -> int:
    """Return the level after that time."""
    return min(level + rate.limit * max(elapsed_ms, 0), rate.level_max)


def rescaled(before: Rate, after: Rate, level: int) -> int:
    """Return the level of a rate that was changed: what was taken stays taken.

    So a raised burst is there at once.
    """
    # Rounded up, so that a change never gives anything back.
    taken = -(-(before.level_max - level) * after.period_ms // before.period_ms)
    return max(after.level_max - taken, 0)


def refusing_rate(states: Sequence[RateState], amount: int) -> RateState | None:
    """Return the rate that refuses the amount for longest; None where all admit it.

    Amount 0 takes nothing, so it always passes.
    """
    refusing: RateState | None = None
    longest_ms: int | None = 0
    for state in states:
        if amount * state.rate.period_ms > state.level:
            wait_ms = retry_after_ms(state, amount)
            if refusing is None or wait_ms is None or (longest_ms and wait_ms > longest_ms):
                refusing, longest_ms = state, wait_ms
            if wait_ms is None:
                return refusing
    return refusing


def retry_after_ms(state: RateState, amount: int) -> int | None:
    """Return when the amount could pass, in whole milliseconds; None: never, it is too large."""
    rate = state.rate
    if amount > rate.burst or not rate.limit:
        return None
    missing = amount * rate.period_ms - state.level
    if state.refill is None:
        return max(-(-missing // rate.limit), 0)
    if not state.refill:
        return state.wait_ms
    refill = state.refill * rate.period_ms
    return max(-(-missing * HOUR_MS * PARTS_PER_UNIT // refill), state.wait_ms, 0)


def would_admit(rate: Rate, amount: int, refused_by: Rate | None) -> bool:
    """Whether a full bucket admits the amount; of the rate that refused it, a larger one."""
    if amount > rate.burst:
        return False
    return refused_by is None or rate.id != refused_by.id or rate.exceeds(refused_by)
