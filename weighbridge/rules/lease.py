"""Leases: how many units go where. Pure arithmetic on integers; both sides of the stream use it.

A pool is what one limit of one customer or resource has in one window; a lease is the part of it
that one sidecar may spend. Rules:

- What is granted under a limit is never more than the limit leaves after all that is settled and
  all that anybody holds.
- One sidecar gets at most a share of what is available, so that others find some; a call that
  waits gets what it needs, down to the last unit.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from weighbridge.rules.units import COUNTER_MAX

REFILL_SPAN_MS: Final = 4_000
"""A lease is refilled to what was spent of it in about this time."""

KEPT_SPAN_MS: Final = 60_000
"""What is spent slowly is kept for so long, so that few calls in a row find it."""

SHARE_DIVISOR: Final = 2
"""Of what is available, the sidecars that want some get this part at most, all together."""

FIRST_FACTOR: Final = 16
"""A lease of which nothing is known yet is for so many calls like the first."""


_CREDITS: Final = "credits "
"""What pools of credits have for a feature begins so. No feature has a blank."""


class Consistency(Enum):
    """How the limits of a feature are held."""

    LEASED = "leased"
    CACHED = "cached"
    AUTHORITATIVE = "authoritative"


class LostLease(Enum):
    """What becomes of units leased to a sidecar that stays away."""

    CHARGE = "charge"
    RELEASE = "release"


class PoolKey(NamedTuple):
    """What identifies a pool. `window_start_ms` is 0 for windows that do not turn."""

    customer: str
    resource: str
    feature: str
    limit_id: str
    window_start_ms: int

    @property
    def credit_type(self) -> str:
        """The type of credits that it is of; "" where it is of a limit."""
        return self.feature.removeprefix(_CREDITS) if self.feature.startswith(_CREDITS) else ""

    @property
    def grant(self) -> int:
        """Of credits: the grant. 0: all grants together."""
        return int(self.limit_id) if self.limit_id else 0


def credit_pool(customer: str, credit_type: str, grant: int = 0) -> PoolKey:
    """Return the pool of a grant; of all grants, where none is named. Units are micro-credits."""
    return PoolKey(customer, "", _CREDITS + credit_type, str(grant) if grant else "", 0)


def grantable(available: int, units_min: int, units: int, sharers: int) -> int:
    """Return how many units one of so many sidecars gets; 0 where the minimum is not there.

    `units_min` is what calls wait for, `units` what the sidecar would like to have.
    """
    if available <= 0 or units_min > available:
        return 0
    share = available // (SHARE_DIVISOR * max(sharers, 1))
    return max(units_min, min(units, max(share, 1)))


def wanted_units(waited_for: int, spent: int, span_ms: int) -> int:
    """Return how many units to ask for: what calls wait for, and what is spent in a while.

    `spent` units were, in `span_ms`; a lease that nothing was spent of is for a few calls. One that
    is spent slowly is filled up again to what it was, as far as that is used in a minute: its next
    calls may come together.
    """
    if not spent:
        wanted = waited_for * FIRST_FACTOR
    else:
        span_ms = max(span_ms, 1)
        kept = min(spent, spent * KEPT_SPAN_MS // span_ms)
        wanted = waited_for + max(spent * REFILL_SPAN_MS // span_ms, kept)
    return min(max(wanted, waited_for, 1), COUNTER_MAX)


def is_low(remaining: int, filled_to: int) -> bool:
    """Whether a lease is to be refilled: less than half of what it was last filled to is left."""
    return 2 * remaining < filled_to
