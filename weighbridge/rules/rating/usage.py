"""Usage as it is rated, and which price it is rated by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from weighbridge.rules.matching import most_specific
from weighbridge.rules.rating.money import require_count
from weighbridge.rules.rating.prices import UsagePrice
from weighbridge.rules.units import COUNTER_MAX


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of a feature in one period, with the dimensions that prices may look at, sorted.

    `carried` units were used earlier in the period and charged then: they use up allowances and
    fill tiers, and cost nothing here. For a percentage, `quantity` is money in minor units, and
    `transactions` says how many transactions it is the sum of.
    """

    feature: str
    quantity: int
    dimensions: tuple[tuple[str, str], ...] = ()
    carried: int = 0
    transactions: int = 1

    def __post_init__(self) -> None:
        require_count("quantity", self.quantity, 0, COUNTER_MAX)
        require_count("carried", self.carried, 0, COUNTER_MAX)
        require_count("transactions", self.transactions, 0, COUNTER_MAX)


class Assigned(NamedTuple):
    """Which usage each price gets, by position of the price; and what no price is for.

    Usage of a feature without any price is in neither: it is part of the plan.
    """

    by_price: dict[int, list[Usage]]
    unmatched: tuple[Usage, ...]


def assign(prices: Sequence[UsagePrice], usage: Sequence[Usage]) -> Assigned:
    """Give each usage to one price: the one with the most matching dimensions, then the first."""
    by_feature: dict[str, list[int]] = {}
    for position, price in enumerate(prices):
        by_feature.setdefault(price.feature, []).append(position)
    by_price: dict[int, list[Usage]] = {}
    unmatched = []
    for each in usage:
        candidates = by_feature.get(each.feature, ())
        best = most_specific([prices[at].match for at in candidates], each.dimensions)
        if best is not None:
            by_price.setdefault(candidates[best], []).append(each)
        elif candidates:
            unmatched.append(each)
    return Assigned(by_price, tuple(unmatched))
