"""Revenue share: how money that a partner app brings is parted between partner and platform.

An amount is parted once. The platform's part is worked out exactly, over all tiers, and rounded
once to the minor unit (see `rating.rounding`); the partner has the rest. So the two are the amount,
to the cent, always; a fixed part never takes more than the amount.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import Currency, exact, require_count, require_percent
from weighbridge.rules.rating.rounding import Quotient
from weighbridge.rules.rating.tiers import tier_problems
from weighbridge.rules.units import AMOUNT_MAX, COUNTER_MAX
from weighbridge.rules.window import Window


class ShareBase(Enum):
    """What is shared: what the partner sells, or what customers pay for usage by the app."""

    SALES = "sales"
    USAGE = "usage"


class ShareTier(NamedTuple):
    """What the platform keeps of the volume up to and including `up_to_minor` (None: the rest)."""

    up_to_minor: int | None
    platform_percent: Decimal


@dataclass(frozen=True, slots=True)
class RevenueShare:
    """What the platform keeps of the money in one currency; the partner gets the rest.

    Each part of the volume is shared by the tier it lies in, and the volume counts from zero in
    each `window`. `fixed_minor` is kept of each transaction beside the percentage.
    """

    base: ShareBase
    currency: Currency
    tiers: tuple[ShareTier, ...]
    window: Window
    fixed_minor: int = 0

    def __post_init__(self) -> None:
        for position, problem in tier_problems([tier.up_to_minor for tier in self.tiers]):
            raise InvalidArgumentError(f"tiers[{position}].up_to", problem)
        for tier in self.tiers:
            require_percent("platform_percent", tier.platform_percent)
        require_count("fixed_per_transaction", self.fixed_minor, 0, AMOUNT_MAX)


class Split(NamedTuple):
    """An amount in two parts, in minor units; a reversal is the same with the signs turned."""

    partner_minor: int
    platform_minor: int

    def reversal(self) -> Split:
        """Return what undoes it."""
        return Split(-self.partner_minor, -self.platform_minor)


def split(
    share: RevenueShare, amount_minor: int, volume_minor: int = 0, transactions: int = 1
) -> Split:
    """Part an amount, of so many transactions, after so much volume in the same window.

    Raises InvalidArgumentError where an amount or a count is negative or too large.
    """
    require_count("amount", amount_minor, 0, AMOUNT_MAX)
    require_count("volume", volume_minor, 0, COUNTER_MAX - AMOUNT_MAX)
    require_count("transactions", transactions, 0, AMOUNT_MAX)
    with exact():
        hundredfold = Decimal(0)
        for units, percent in _parts(share, volume_minor, amount_minor):
            hundredfold += share.currency.major(units) * percent
        kept = Quotient(hundredfold, 100).rounded(share.currency)
    platform_minor = min(amount_minor, kept + share.fixed_minor * transactions)
    return Split(amount_minor - platform_minor, platform_minor)


def _parts(
    share: RevenueShare, before_minor: int, amount_minor: int
) -> Iterator[tuple[int, Decimal]]:
    reached, last = before_minor, before_minor + amount_minor
    for tier in share.tiers:
        bound = last if tier.up_to_minor is None else min(tier.up_to_minor, last)
        if bound > reached:
            yield bound - reached, tier.platform_percent
            reached = bound
