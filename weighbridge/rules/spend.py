"""Money that usage costs, counted in integers; and what a spend feature counts of it.

A *micro* is 10^-6 of a currency's minor unit: of USD 10^-8 dollars. So prices far below a cent are
counted as they are. What is drawn before usage happens is rounded up, what it cost as well: money
is never given away by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from weighbridge.rules.rating.money import Currency, exact

MICRO: Final = 1_000_000
"""Micros of a minor unit."""

MICRO_PLACES: Final = 6

SPEND_MAX: Final = 10**12 * MICRO
"""The largest spend limit: 10^12 minor units."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What a spend feature counts: what usage of `features` costs in a currency; () is of all."""

    currency: Currency
    features: tuple[str, ...] = ()

    def covers(self, feature: str) -> bool:
        """Whether what usage of the feature costs is counted."""
        return not self.features or feature in self.features


def micros_of(amount: Decimal, currency: Currency) -> int | None:
    """Return an amount of the currency itself in micros; None where it is finer than one."""
    with exact():
        micros = amount.scaleb(currency.exponent + MICRO_PLACES)
    return int(micros) if micros == int(micros) else None


def money_of(micros: int, currency: Currency) -> Decimal:
    """Return micros in the currency itself; always exact."""
    with exact():
        return Decimal(micros).scaleb(-currency.exponent - MICRO_PLACES)


def micros_above(numerator: Decimal, divisor: int, currency: Currency) -> int:
    """Return an exact amount of the currency itself in micros, rounded up."""
    above, below = numerator.as_integer_ratio()
    return -(-above * scale_of(currency) // (below * divisor))


def scale_of(currency: Currency) -> int:
    """Return how many micros one of the currency itself is."""
    return int(10 ** (currency.exponent + MICRO_PLACES))
