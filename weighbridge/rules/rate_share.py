"""Rates shared out over a fleet: how much of a rate each sidecar gets. Integers only.

Each share has a bucket of its own, with a part of the rate and a part of the burst. As long as all
parts sum up to no more than the rate has, and a part that grows brings no units but those taken
from another, all buckets together admit at most burst + limit * span / period in any span: what
they hold at its beginning is at most the burst, and what comes back at most the rate.

Whatever a rate's period is, a share counts thousandths of units per hour (`parts`), and a level
units times `UNIT_LEVEL`: each millisecond adds `parts` to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from weighbridge.rules.rate import HOUR_MS, PARTS_PER_UNIT, Rate

UNIT_LEVEL: Final = HOUR_MS * PARTS_PER_UNIT
"""One unit in the level of a shared bucket."""

NUMBER_MAX: Final = 2**62
"""The most parts there are, and the most of a level that is handed over at once."""

_TURN_UNITS: Final = 10
_TURN_MS_MIN: Final = 200
_TURN_MS_MAX: Final = 1_000


class RateKey(NamedTuple):
    """What identifies a rate."""

    customer: str
    resource: str
    feature: str
    rate_id: str


class RateShare(NamedTuple):
    """A part of a rate: so many thousandths of units per hour, and so many units at once."""

    parts: int
    burst: int

    def is_within(self, other: RateShare) -> bool:
        """Whether it is nowhere larger."""
        return self.parts <= other.parts and self.burst <= other.burst

    def least(self, other: RateShare) -> RateShare:
        """Return the smaller of each; nothing, where it would admit nothing."""
        return usable(min(self.parts, other.parts), min(self.burst, other.burst))

    def plus(self, other: RateShare) -> RateShare:
        """Return the sum."""
        return RateShare(self.parts + other.parts, self.burst + other.burst)

    def minus(self, other: RateShare) -> RateShare:
        """Return what is left without the other; nothing where that has more."""
        return RateShare(max(self.parts - other.parts, 0), max(self.burst - other.burst, 0))


NO_SHARE: Final = RateShare(0, 0)


class RateClaim(NamedTuple):
    """What a sidecar can use: `parts` (None: not known so far), `units_min` at once."""

    parts: int | None = None
    units_min: int = 1


def usable(parts: int, burst: int) -> RateShare:
    """Return the share; nothing, where one of both is nothing."""
    return RateShare(parts, burst) if parts > 0 and burst > 0 else NO_SHARE


def whole_share(rate: Rate) -> RateShare:
    """Return all of a rate."""
    parts = rate.limit * PARTS_PER_UNIT * (HOUR_MS // rate.period_ms)
    return RateShare(min(parts, NUMBER_MAX), rate.burst)


def shared_out(whole: RateShare, claims: Sequence[RateClaim]) -> list[RateShare]:
    """Share all of a rate out, to claims in the order of their turns.

    A share admits nothing unless its burst has a unit, or as many as a call needs at once. Where
    the burst does not reach for all, those whose turn is later get nothing.
    """
    bursts, rest = _bursts_needed(whole.burst, claims)
    winners = [index for index, burst in enumerate(bursts) if burst]
    # No more of them than there are parts.
    winners = winners[: whole.parts]
    shares = [NO_SHARE] * len(claims)
    if not winners:
        return shares
    rest += sum(bursts) - sum(bursts[index] for index in winners)
    demands = [whole.parts if (p := claims[i].parts) is None else p for i in winners]
    filled = water_filled(whole.parts, demands)
    spare = rest
    for index, parts in zip(winners, filled, strict=True):
        more = rest * parts // whole.parts
        shares[index] = RateShare(parts, bursts[index] + more)
        spare -= more
    first = winners[0]
    shares[first] = RateShare(shares[first].parts, shares[first].burst + spare)
    return [usable(*share) for share in shares]


def water_filled(total: int, demands: Sequence[int]) -> list[int]:
    """Give each its demand, or an equal part of what is left; and all what nobody asked for."""
    given = [0] * len(demands)
    left = total
    smallest_first = sorted(range(len(demands)), key=lambda index: demands[index])
    for position, index in enumerate(smallest_first):
        given[index] = min(max(demands[index], 1), left // (len(demands) - position))
        left -= given[index]
    each, rest = divmod(left, len(demands))
    return [units + each + (1 if index < rest else 0) for index, units in enumerate(given)]


def turn_ms(whole: RateShare) -> int:
    """Return how long a turn is, where the burst has fewer units than there are sidecars."""
    refill_ms = _TURN_UNITS * UNIT_LEVEL // max(whole.parts, 1)
    return min(max(refill_ms, _TURN_MS_MIN), _TURN_MS_MAX)


def _bursts_needed(burst: int, claims: Sequence[RateClaim]) -> tuple[list[int], int]:
    """Return the least that helps each claim, in the order of their turns; and what is left."""
    left = burst
    needed = []
    for claim in claims:
        units = min(max(claim.units_min, 1), burst)
        needed.append(units if units <= left else 0)
        left -= needed[-1]
    return needed, left
