"""From a catalog to terms: the prices in a subscription's currency, allowances as they are granted.

Apart from `terms`, because this knows the catalog, and the catalog knows prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from weighbridge.rules.catalog import AddOn, Entitlement, PlanVersion
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.prices import Price, QuantityPrice, currencies, prices_in
from weighbridge.rules.rating.terms import AddOnTerms, Terms
from weighbridge.rules.units import COUNTER_MAX

Entitlements = Mapping[str, Entitlement]


def terms_of(
    plan: PlanVersion,
    add_ons: Iterable[tuple[AddOn, int]],
    entitlements: Entitlements,
    seats: int,
    currency: str,
) -> Terms:
    """Return what a subscription to a plan, with each add-on so many times, pays by.

    `entitlements` are what the subscription has in all (plan, add-ons, overrides): a price with
    `past_limit` charges past that limit as the customer has it. Raises InvalidArgumentError where
    the plan or an add-on has prices, but none in that currency.
    """
    return Terms(
        _prices(f"plan {plan.plan!r}", plan.prices, entitlements, currency),
        seats,
        tuple(
            AddOnTerms(
                add_on.id,
                _prices(f"add-on {add_on.id!r}", add_on.prices, entitlements, currency),
                pieces,
            )
            for add_on, pieces in add_ons
        ),
    )


def _prices(
    owner: str, prices: tuple[Price, ...], entitlements: Entitlements, currency: str
) -> tuple[Price, ...]:
    found = prices_in(currency, prices)
    if prices and not found:
        codes = ", ".join(each.code for each in currencies(prices))
        raise InvalidArgumentError("currency", f"{owner} has no prices in {currency}, but {codes}")
    return tuple(_with_allowance(price, entitlements) for price in found)


def _with_allowance(price: Price, entitlements: Entitlements) -> Price:
    if not isinstance(price, QuantityPrice) or not price.past_limit:
        return price
    return replace(price, granted=granted_by(entitlements.get(price.feature), price.past_limit))


def granted_by(entitlement: Entitlement | None, limit_id: str) -> int:
    """Return what a limit grants. A metered entitlement without limits grants any usage."""
    if entitlement is None or not entitlement.enabled:
        return 0
    if not entitlement.limits:
        return COUNTER_MAX
    by_id = {limit.id: limit.limit for limit in entitlement.limits}
    limit = by_id.get(limit_id, 0)
    return COUNTER_MAX if limit is None else limit
