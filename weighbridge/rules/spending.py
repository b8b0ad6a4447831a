"""Which prices usage goes to, and what it costs under spend limits: at most, and in truth.

What usage costs is what it adds to the charge of its billing period: usage lines of the rating
rules, before commitments, minimums and fees. What is drawn before it happens is the most that it
can add, wherever in the period it lies (`docs/spend-limits.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    Meter,
    PlanVersion,
)
from weighbridge.rules.dearest import Dearest, cost_so_far
from weighbridge.rules.matching import Match, most_specific
from weighbridge.rules.rating.prices import QuantityPrice, prices_in, usage_price
from weighbridge.rules.rating.subscribed import granted_by
from weighbridge.rules.window import Period, WindowKind

Spending = Mapping[str, tuple[Feature, ...]]
"""By metered feature, the spend features that count what its usage costs."""


class PricedBy(NamedTuple):
    """A price that usage goes to, of an add-on bought `pieces` times or of the plan."""

    price: QuantityPrice
    pieces: int
    dearest: Dearest
    # Among the prices of its feature and period, in the order in which they are looked at.
    position: int


class _Candidates(NamedTuple):
    matches: tuple[Match, ...]
    prices: tuple[PricedBy, ...]


class SpendPrices:
    """The prices of usage of one plan with its add-ons, in one currency."""

    def __init__(
        self, plan: PlanVersion, add_ons: Iterable[tuple[AddOn, int]], currency: str
    ) -> None:
        # An add-on's before the plan's, as rating has it.
        sold = [
            *(
                (p, pieces)
                for add_on, pieces in add_ons
                for p in prices_in(currency, add_on.prices)
            ),
            *((price, 1) for price in prices_in(currency, plan.prices)),
        ]
        found: dict[str, dict[Period, list[PricedBy]]] = {}
        for price, pieces in sold:
            charging = usage_price(price)
            if isinstance(charging, QuantityPrice):
                of = found.setdefault(charging.feature, {}).setdefault(charging.every, [])
                of.append(PricedBy(charging, pieces, Dearest(charging), len(of)))
        # Each period charges by itself.
        self._by_feature: dict[str, tuple[_Candidates, ...]] = {
            feature: tuple(
                _Candidates(tuple(each.price.match for each in of), tuple(of))
                for of in periods.values()
            )
            for feature, periods in found.items()
        }

    def find(self, feature: str, dimensions: Match) -> Sequence[PricedBy]:
        """Return the prices that usage goes to: one of each billing period that has one."""
        priced = []
        for matches, prices in self._by_feature.get(feature, ()):
            position = most_specific(matches, dimensions)
            if position is not None:
                priced.append(prices[position])
        return priced

    def of(self, feature: str, every: Period) -> Sequence[PricedBy]:
        """Return all prices of a feature in billing periods of one length."""
        for _, prices in self._by_feature.get(feature, ()):
            if prices[0].price.every is every:
                return prices
        return ()


def spending_of(catalog: Catalog) -> Spending:
    """Return which spend features count what usage costs, by metered feature."""
    spends = [feature for feature in catalog.features.values() if feature.spend is not None]
    if not spends:
        return {}
    return {
        feature.id: counting
        for feature in catalog.features.values()
        if (feature.type, feature.meter) == (FeatureType.METERED, Meter.SUM)
        and (counting := tuple(s for s in spends if s.spend and s.spend.covers(feature.id)))
    }


def most_micros(priced: Iterable[PricedBy], units: int) -> int:
    """Return the most that units cost by all of these prices."""
    return sum(each.dearest.micros(units) for each in priced)


def units_within(priced: Sequence[PricedBy], micros: int, most: int) -> int:
    """Return how many units, `most` at most, an amount of money pays for in any case."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if most_micros(priced, middle) <= micros:
            low = middle
        else:
            high = middle - 1
    return low


def chargeable(
    priced: Iterable[PricedBy], feature: Feature, entitlement: Entitlement | None, seats: int
) -> list[PricedBy]:
    """Leave out the prices whose allowance is known to cover whatever is admitted.

    That is certain where a leased hard limit grants no more, in the billing period or for good.
    """
    return [
        each
        for each in priced
        if entitlement is None
        or not feature.is_leased
        or not any(_is_within(each, limit, entitlement, seats) for limit in entitlement.limits)
    ]


def allowance_of(each: PricedBy, entitlement: Entitlement | None, seats: int) -> int:
    """Return how many units of a billing period are free."""
    if each.price.past_limit:
        return granted_by(entitlement, each.price.past_limit)
    return each.price.allowance(seats, each.pieces)


def cost_of(each: PricedBy, free: int, before: int, units: int) -> int:
    """Return what units add to the charge of a period in which so many were used before."""
    price = each.price
    charged, charged_before = max(before + units - free, 0), max(before - free, 0)
    return max(cost_so_far(price, charged) - cost_so_far(price, charged_before), 0)


def _is_within(each: PricedBy, limit: Limit, entitlement: Entitlement, seats: int) -> bool:
    if limit.kind is not LimitKind.HARD or limit.limit is None or limit.per_seat:
        return False
    window = limit.window
    is_period = (
        window.kind is WindowKind.ANNIVERSARY
        and window.period is each.price.every
        and window.time_zone == "UTC"
    )
    if not is_period and window.kind is not WindowKind.LIFETIME:
        return False
    return limit.limit <= allowance_of(each, entitlement, seats)
