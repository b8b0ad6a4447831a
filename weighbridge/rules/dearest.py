"""What usage costs at most, whatever was used before it; and what it has cost so far.

Of units that somebody wants to use now, nobody knows in which tier they will lie once all that is
used elsewhere has settled. `Dearest` answers for every place they could lie in. In micros (see
`weighbridge.rules.spend`), so that sidecars reckon with integers alone.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import accumulate

from weighbridge.rules.rating.prices import QuantityPrice
from weighbridge.rules.rating.tiers import Package, TierTable, total
from weighbridge.rules.spend import micros_above, scale_of


class Dearest:
    """The most that units of one price cost. Never less than what they cost in parts.

    A volume table prices units again that were used before, so that nothing bounds what one more
    costs; no catalog has one under a spend limit. Of one that was there before, each unit is
    reckoned at the dearest tier.
    """

    __slots__ = ("_above", "_below", "_flats", "_size")

    def __init__(self, price: QuantityPrice) -> None:
        rate, currency = price.rate, price.currency
        self._size = rate.size if isinstance(rate, Package) else 1
        flats: list[Decimal] = []
        if isinstance(rate, TierTable):
            unit = max(tier.unit for tier in rate.tiers)
            flats = sorted((tier.flat for tier in rate.tiers if tier.flat), reverse=True)
        else:
            unit = rate.amount
        above, below = unit.as_integer_ratio()
        # What one unit, or one package, costs in micros, as a fraction.
        self._above = above * scale_of(currency)
        self._below = below * rate.per
        # What the dearest so many tiers cost that begin with a unit of these.
        self._flats = (0, *accumulate(micros_above(flat, 1, currency) for flat in flats))

    def micros(self, units: int) -> int:
        """Return the most that so many units cost, in micros."""
        started = -(-units // self._size)
        flats = self._flats
        return -(-started * self._above // self._below) + flats[min(units, len(flats) - 1)]


def cost_so_far(price: QuantityPrice, units: int) -> int:
    """Return what the first so many units cost that no allowance covers, in micros, rounded up.

    What units cost after those before is the difference: so parts add up to the whole.
    """
    rate = price.rate
    return micros_above(total(rate.segments(0, units), rate.per), rate.per, price.currency)
