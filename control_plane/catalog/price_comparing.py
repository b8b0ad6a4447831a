"""Prices as trees of texts, to be compared: by currency, then by what the price is called."""

from __future__ import annotations

from collections.abc import Iterable

from control_plane.catalog.tree import Tree, without_empty
from weighbridge.rules.credits import CREDIT_METER, MICRO
from weighbridge.rules.rating.money import plain
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    Counted,
    FeePercentagePrice,
    FlatPrice,
    MinimumPrice,
    PercentagePrice,
    Price,
    QuantityPrice,
)
from weighbridge.rules.rating.tiers import Package, Rate, Tier, TierTable, UnitRate
from weighbridge.rules.window import Period


def price_trees(prices: Iterable[Price]) -> Tree:
    """Write prices as a tree. The order of prices says nothing, so it is no difference."""
    trees: dict[str, dict[str, Tree]] = {}
    for price in prices:
        trees.setdefault(price.currency.code, {})[price.key] = _price_tree(price)
    return trees


def _price_tree(price: Price) -> Tree:
    every = "" if price.every is Period.MONTH else price.every.value
    return without_empty({**_own_tree(price), "every": every})


def _own_tree(price: Price) -> dict[str, Tree]:
    match price:
        case FlatPrice():
            return {"flat": plain(price.amount), "feature": price.feature}
        case QuantityPrice():
            return _quantity_tree(price)
        case PercentagePrice():
            return {
                "percent": plain(price.percent),
                "feature": price.feature,
                "match": dict(price.match),
                "flat_per_transaction": plain(price.flat) if price.flat else "",
                "cap": "" if price.cap is None else plain(price.cap),
            }
        case FeePercentagePrice():
            return {"percent": plain(price.percent), "of": "fees"}
        case MinimumPrice():
            return {"minimum": plain(price.amount), "feature": price.feature}
        case CommitmentPrice():
            return {"commitment": plain(price.amount), "feature": price.feature}


def _quantity_tree(price: QuantityPrice) -> dict[str, Tree]:
    rate = price.rate
    if price.feature.startswith(CREDIT_METER) and isinstance(rate, UnitRate):
        per_credit = UnitRate(rate.amount, rate.per // MICRO)
        credit_type = price.feature.removeprefix(CREDIT_METER)
        return {**_rate_tree(per_credit, "per_unit"), "credits": credit_type}
    return {
        **_rate_tree(price.rate, "per_seat" if price.counted is Counted.SEATS else "per_unit"),
        "feature": price.feature,
        "match": dict(price.match),
        "of": "seats" if price.counted is Counted.SEATS else "",
        "included": _count(price.included),
        "included_per_seat": _count(price.included_per_seat),
        "past_limit": price.past_limit,
    }


def _rate_tree(rate: Rate, unit: str) -> dict[str, Tree]:
    match rate:
        case UnitRate():
            return {unit: plain(rate.amount), "per": _per(rate.per)}
        case Package():
            return {"package": plain(rate.amount), "size": str(rate.size)}
        case TierTable():
            tiers: dict[str, Tree] = {
                "rest" if tier.up_to is None else str(tier.up_to): _tier(tier)
                for tier in rate.tiers
            }
            return {rate.mode.value: tiers, "per": _per(rate.per)}


def _tier(tier: Tier) -> str:
    return plain(tier.unit) + (f" + {plain(tier.flat)} flat" if tier.flat else "")


def _count(count: int) -> str:
    return str(count) if count else ""


def _per(per: int) -> str:
    return str(per) if per > 1 else ""
