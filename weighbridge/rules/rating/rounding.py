"""The one place that rounds an amount of money.

The rule: a line item is rounded once, from its exact quotient, to the currency's minor unit; a tie
goes away from zero ("half up"). That is what a person with a pencil does, what invoices and the
rules on currency conversion expect, and it is symmetric: a credit rounds to exactly minus the
charge that it takes back. Half-even would spread ties evenly, but ties are rare among unit prices,
and every one of them would look like a mistake to whoever checks the bill.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact
from typing import Final

from weighbridge.rules.rating.money import Currency, exact

SHOWN_DIGITS: Final = 34
"""Significant digits of a quotient that does not end, such as a third. Only for show."""

_SHOWN: Final = Context(prec=SHOWN_DIGITS, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Quotient:
    """An exact amount of money: `numerator / divisor`, in the currency itself."""

    numerator: Decimal
    divisor: int = 1

    def rounded(self, currency: Currency) -> int:
        """Return it in minor units of the currency; a tie goes away from zero."""
        numerator, denominator = self.numerator.as_integer_ratio()
        numerator *= int(10**currency.exponent)
        denominator *= self.divisor
        nearest = (2 * abs(numerator) + denominator) // (2 * denominator)
        return nearest if numerator >= 0 else -nearest

    def shown(self) -> Decimal:
        """Return it as a decimal: exactly where the division ends, else its first digits."""
        try:
            with exact():
                return self.numerator / self.divisor
        except Inexact:
            return _SHOWN.divide(self.numerator, Decimal(self.divisor))
