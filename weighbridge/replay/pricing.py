"""What each plan of a catalog is charged by, in a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from weighbridge.rules.catalog import Catalog, Entitlement, PlanVersion
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.priced import Priced, priced_features
from weighbridge.rules.rating.prices import currencies
from weighbridge.rules.rating.subscribed import terms_of
from weighbridge.rules.rating.terms import Terms
from weighbridge.rules.window import Period


class PlanPricing(NamedTuple):
    """What a plan is charged by; by billing period, the features that have prices."""

    currency: Currency
    terms: Terms
    periods: Mapping[Period, Mapping[str, Priced]]


class Compiled(NamedTuple):
    """What a plan grants for so many seats."""

    entitlements: Mapping[str, Entitlement]
    seats: int


def plan_pricing(
    catalog: Catalog, plan: PlanVersion, compiled: Compiled, code: str
) -> PlanPricing | None:
    """Return what a plan of a catalog is charged by; None where it has no prices.

    `code` is the currency, "" the only one there is. Raises InvalidArgumentError where there is
    none such, or where there are several and none is named.
    """
    sold_in = currencies(plan.prices)
    if not sold_in:
        return None
    if not code and len(sold_in) > 1:
        codes = ", ".join(each.code for each in sold_in)
        raise InvalidArgumentError("currency", f"plan {plan.plan!r} is sold in {codes}; name one")
    terms = terms_of(plan, (), *compiled, code or sold_in[0].code)
    currency = terms.prices[0].currency
    periods: dict[Period, dict[str, Priced]] = {}
    for every in dict.fromkeys(price.every for price in terms.prices):
        due = (price for price in terms.prices if price.every is every)
        periods[every] = priced_features(catalog.features, due)
    return PlanPricing(currency, terms, periods)
