"""Currencies, and decimals that are exact or refused."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import (
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from typing import Final

from weighbridge.rules.errors import InvalidArgumentError

EXPONENT_MAX: Final = 4
"""The most decimal places that a minor unit of a currency has (ISO 4217)."""

PRICE_MAX: Final = Decimal(10**15)
PLACES_MAX: Final = 18
PERCENT_MAX: Final = Decimal(100)

# Wide enough for the longest product of valid values: a price (15 digits before the point, 18
# after), a total (19), a number of pieces (7) and a time in ms (16). What would not fit raises.
_EXACT: Final = Context(
    prec=120,
    traps=[Inexact, InvalidOperation, DivisionByZero, Overflow, FloatOperation],
)
_CODE = re.compile(r"[A-Z]{3}", re.ASCII)


def exact() -> AbstractContextManager[Context]:
    """Within it, decimal arithmetic that would lose a digit, or meets a float, raises."""
    return localcontext(_EXACT)


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency: its ISO 4217 code, and how many decimal places its minor unit has."""

    code: str
    exponent: int

    def __post_init__(self) -> None:
        if _CODE.fullmatch(self.code) is None:
            raise InvalidArgumentError("currency", f"{self.code!r} is not three capital letters")
        if type(self.exponent) is not int or not 0 <= self.exponent <= EXPONENT_MAX:
            problem = f"{self.exponent!r} is not a number of decimal places; 0 to {EXPONENT_MAX}"
            raise InvalidArgumentError("currency", problem)

    def major(self, minor: int) -> Decimal:
        """Return an amount of minor units (cents) in the currency itself; always exact."""
        with exact():
            return Decimal(minor).scaleb(-self.exponent)


def require_price(field: str, price: Decimal) -> Decimal:
    """Return the price, or raise InvalidArgumentError: see `decimal_problem`."""
    problem = decimal_problem(price, PRICE_MAX)
    if problem is not None:
        raise InvalidArgumentError(field, problem)
    return price


def require_percent(field: str, percent: Decimal) -> Decimal:
    """Return the percentage, or raise InvalidArgumentError: see `decimal_problem`."""
    problem = decimal_problem(percent, PERCENT_MAX)
    if problem is not None:
        raise InvalidArgumentError(field, problem)
    return percent


def require_count(field: str, count: int, least: int, most: int) -> int:
    """Return the count, or raise InvalidArgumentError unless it is an integer in the range."""
    if type(count) is not int:
        problem = f"{count!r} is not an integer"
    elif count < least:
        problem = f"{count} is negative" if count < 0 else f"{count} is too small"
        problem += f"; at least {least}"
    elif count > most:
        problem = f"{count} is too large; at most {most}"
    else:
        return count
    raise InvalidArgumentError(field, problem)


def decimal_problem(value: Decimal, most: Decimal) -> str | None:
    """Return what keeps a value from being a price: it is 0 to `most`, with 18 decimal places."""
    # By type: a float or an integer may look right here and be wrong in the next sum.
    if type(value) is not Decimal:
        return f"{value!r} is not a Decimal; a float is never exact"
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        return f"{value} is not a number"
    if value < 0:
        return f"{plain(value)} is negative; at least 0"
    if value > most:
        return f"is too large; at most {plain(most)}"
    if -exponent > PLACES_MAX:
        return f"has {-exponent} decimal places; at most {PLACES_MAX}"
    return None


def plain(value: Decimal) -> str:
    """Write a decimal without exponent and without zeros at its end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
