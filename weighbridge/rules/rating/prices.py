"""Prices: what a plan or add-on is sold by. Immutable values; `rate` does the arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.matching import Match, ambiguous, require_match
from weighbridge.rules.rating.money import (
    Currency,
    require_count,
    require_percent,
    require_price,
)
from weighbridge.rules.rating.tiers import NOTHING, Rate
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Period


class Counted(Enum):
    """What a quantity price multiplies."""

    USAGE = "usage"
    SEATS = "seats"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatPrice:
    """A recurring fee: `amount` each `every`. `feature` only says what it is for."""

    key: str
    currency: Currency
    amount: Decimal
    feature: str = ""
    every: Period = Period.MONTH

    def __post_init__(self) -> None:
        require_price("flat", self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityPrice:
    """What usage of a feature, or the seats of a subscription, cost by number.

    Free are `included` units, and `included_per_seat` for each seat. Or, where `past_limit` names a
    limit of the feature, as many as that customer's limit grants: `terms_of` puts the number into
    `granted`, without which the price cannot be rated.
    """

    key: str
    currency: Currency
    rate: Rate
    counted: Counted = Counted.USAGE
    feature: str = ""
    match: Match = ()
    included: int = 0
    included_per_seat: int = 0
    past_limit: str = ""
    granted: int | None = None
    every: Period = Period.MONTH

    def __post_init__(self) -> None:
        require_count("included", self.included, 0, COUNTER_MAX)
        require_count("included_per_seat", self.included_per_seat, 0, COUNTER_MAX)
        if self.counted is Counted.SEATS:
            if self.match or self.past_limit or self.included_per_seat:
                problem = "counts seats, which have no dimensions, limits or seats of their own"
                raise InvalidArgumentError(self.key, problem)
        else:
            _require_usage(self.feature, self.match)

    def allowance(self, seats: int, pieces: int) -> int:
        """Return how many units are free: with an add-on, `included` comes with each piece.

        Raises InvalidArgumentError where `past_limit` has no number yet.
        """
        if self.granted is not None:
            return self.granted
        if self.past_limit:
            problem = f"{self.past_limit!r} has no number yet; make the terms with `terms_of`"
            raise InvalidArgumentError(f"{self.key}.past_limit", problem)
        return (self.included + self.included_per_seat * seats) * pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentagePrice:
    """`percent` of an amount of money that a feature meters, in minor units of the currency.

    Each transaction adds `flat`, and costs `cap` at most, its flat part included.
    """

    key: str
    currency: Currency
    percent: Decimal
    feature: str
    match: Match = ()
    flat: Decimal = NOTHING
    cap: Decimal | None = None
    every: Period = Period.MONTH

    def __post_init__(self) -> None:
        require_percent("percent", self.percent)
        require_price("flat_per_transaction", self.flat)
        if self.cap is not None:
            require_price("cap", self.cap)
        _require_usage(self.feature, self.match)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePercentagePrice:
    """`percent` of the fees of the plan: its flat prices and those per seat."""

    key: str
    currency: Currency
    percent: Decimal
    every: Period = Period.MONTH

    def __post_init__(self) -> None:
        require_percent("percent", self.percent)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumPrice:
    """At least `amount`: for a feature, else for everything in the charge."""

    key: str
    currency: Currency
    amount: Decimal
    feature: str = ""
    every: Period = Period.MONTH

    def __post_init__(self) -> None:
        require_price("minimum", self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentPrice:
    """`amount`, paid in any case, that usage is drawn from: of a feature, else all usage.

    Usage beyond it is charged at its prices.
    """

    key: str
    currency: Currency
    amount: Decimal
    feature: str = ""
    every: Period = Period.MONTH

    def __post_init__(self) -> None:
        require_price("commitment", self.amount)


Price = (
    FlatPrice
    | QuantityPrice
    | PercentagePrice
    | FeePercentagePrice
    | MinimumPrice
    | CommitmentPrice
)
UsagePrice = QuantityPrice | PercentagePrice
"""A price of usage. Of quantity prices, only those that count usage are meant."""


class Proration(Enum):
    """What a change of plan within a period costs at once; `proration` states each rule."""

    TIME = "time"
    DIFFERENCE = "difference"
    NONE = "none"


def currencies(prices: Iterable[Price]) -> tuple[Currency, ...]:
    """List the currencies of some prices, each once, in order."""
    return tuple(dict.fromkeys(price.currency for price in prices))


def prices_in(code: str, prices: Iterable[Price]) -> tuple[Price, ...]:
    """Return the prices in a currency."""
    return tuple(price for price in prices if price.currency.code == code)


def usage_price(price: Price) -> UsagePrice | None:
    """Return the price where it charges for usage."""
    if isinstance(price, PercentagePrice):
        return price
    if isinstance(price, QuantityPrice) and price.counted is Counted.USAGE:
        return price
    return None


def clashes(prices: Iterable[Price]) -> Iterator[tuple[Price, Price]]:
    """Find pairs of prices in one list that the same usage would fit equally well.

    Prices of different periods charge apart, and so do different currencies.
    """
    groups: dict[tuple[object, ...], list[UsagePrice]] = {}
    for price in prices:
        charging = usage_price(price)
        if charging is not None:
            key = (charging.feature, charging.every, charging.currency)
            groups.setdefault(key, []).append(charging)
    for group in groups.values():
        for one, other in ambiguous([price.match for price in group]):
            yield group[one], group[other]


def _require_usage(feature: str, match: Match) -> None:
    if not feature:
        raise InvalidArgumentError("feature", "is missing: a price of usage says of what")
    require_match(match)
