"""Which features prices charge for, and what of their usage has to be told apart.

Apart from `usage`, because this knows the catalog's features, and the catalog knows prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weighbridge.rules.catalog import Feature
from weighbridge.rules.rating.prices import PercentagePrice, Price, usage_price


class Priced(NamedTuple):
    """A feature that has prices; or the meter of a credit type, which is none.

    `pairs` are the dimensions that prices look at. `is_capped`: each transaction counts by itself.
    `is_held`: units stay from period to period, until they are released.
    """

    pairs: frozenset[tuple[str, str]] = frozenset()
    is_capped: bool = False
    is_held: bool = False


def priced_features(features: Mapping[str, Feature], prices: Iterable[Price]) -> dict[str, Priced]:
    """Return what prices of usage charge for, by feature."""
    found: dict[str, Priced] = {}
    for price in prices:
        charging = usage_price(price)
        if charging is None:
            continue
        feature = features.get(charging.feature)
        is_held = feature is not None and feature.is_allocation
        before = found.get(charging.feature, Priced())
        is_capped = isinstance(charging, PercentagePrice) and charging.cap is not None
        found[charging.feature] = Priced(
            before.pairs.union(charging.match), before.is_capped or is_capped, is_held
        )
    return found
