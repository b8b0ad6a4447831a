"""What a subscription pays by: prices, and how many of them were bought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import Currency, require_count
from weighbridge.rules.rating.prices import Price, clashes, currencies
from weighbridge.rules.units import QUANTITY_MAX
from weighbridge.rules.window import Period


@dataclass(frozen=True, slots=True)
class AddOnTerms:
    """An add-on's prices, and how many of it were bought."""

    add_on: str
    prices: tuple[Price, ...]
    pieces: int = 1

    def __post_init__(self) -> None:
        require_count("pieces", self.pieces, 1, QUANTITY_MAX)


@dataclass(frozen=True, slots=True)
class Terms:
    """The plan's prices, how many seats there are, and the add-ons bought."""

    prices: tuple[Price, ...]
    seats: int = 1
    add_ons: tuple[AddOnTerms, ...] = ()

    def __post_init__(self) -> None:
        require_count("seats", self.seats, 0, QUANTITY_MAX)


class Sold(NamedTuple):
    """One price, of the plan ("") or of an add-on that was bought `pieces` times."""

    price: Price
    add_on: str = ""
    pieces: int = 1


def sold(terms: Terms, every: Period) -> Iterator[Sold]:
    """Return the prices that charge for such a period, the plan's first."""
    for price in terms.prices:
        if price.every is every:
            yield Sold(price)
    for add_on in terms.add_ons:
        for price in add_on.prices:
            if price.every is every:
                yield Sold(price, add_on.add_on, add_on.pieces)


def only_currency(terms: Terms) -> Currency | None:
    """Return the currency of all the prices; None where there are none.

    Raises InvalidArgumentError where there are several, and where two prices of one list fit the
    same usage equally well.
    """
    lists = (terms.prices, *(add_on.prices for add_on in terms.add_ons))
    for prices in lists:
        for one, other in clashes(prices):
            problem = f"{one.key!r} and {other.key!r} fit the same usage"
            raise InvalidArgumentError("prices", problem)
    found = currencies(price for prices in lists for price in prices)
    if len(found) > 1:
        codes = ", ".join(each.code for each in found)
        raise InvalidArgumentError("prices", f"mix the currencies {codes}; charge one at a time")
    return found[0] if found else None
