"""What a customer is entitled to: plan version, then add-ons, then overrides.

Rules of merging, per feature:

- A plan's limits per seat are multiplied by the subscription's quantity (to COUNTER_MAX at most).
- An add-on adds, `quantity` times: a boolean turns on, numbers and the limits and rates with the
  same id are summed (to COUNTER_MAX at most; of rates, limit and burst), enum values are united.
  Unlimited on either side is unlimited, and costs no credits. A limit the plan does not have is
  added to a plan that has others, and so is a rate; where the plan lacks the feature, the add-ons
  bring it whole, with what pays for it.
- An override replaces: number, values, and of a metered feature the limits and rates with the same
  id. Those with other ids stay, and so does what is paid with credits; an override with neither
  is unlimited, and costs no credits. One that is not enabled
  takes the feature away, from add-ons and later plans too.
- Where two overrides on a feature apply at once, the later one in the customer's list wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Entitlement,
    Limit,
    Override,
    PlanVersion,
    SubscribedAddOn,
)
from weighbridge.rules.rate import Rate
from weighbridge.rules.spending import Spending, SpendPrices, spending_of
from weighbridge.rules.units import COUNTER_MAX

Entitlements = Mapping[str, Entitlement]

PartT = TypeVar("PartT", bound=Limit | Rate)


class PlanCompiler:
    """Compiles plan version and add-ons of one catalog version, once for all who share them."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._compiled: dict[tuple[str, int, tuple[SubscribedAddOn, ...], int], Entitlements] = {}
        self.spending: Spending = spending_of(catalog)
        self._prices: dict[tuple[str, int, tuple[SubscribedAddOn, ...], str], SpendPrices] = {}

    def entitlements(
        self, plan: PlanVersion, add_ons: tuple[SubscribedAddOn, ...], quantity: int = 1
    ) -> Entitlements:
        """Return what the plan for so many seats grants with the add-ons, by feature."""
        key = (plan.plan, plan.version, add_ons, quantity)
        compiled = self._compiled.get(key)
        if compiled is None:
            seated = for_seats(plan.entitlements, quantity)
            compiled = with_add_ons(seated, self._bought(plan, add_ons))
            self._compiled[key] = compiled
        return compiled

    def prices(
        self, plan: PlanVersion, add_ons: tuple[SubscribedAddOn, ...], currency: str
    ) -> SpendPrices:
        """Return what usage costs on the plan with the add-ons, in a currency."""
        key = (plan.plan, plan.version, add_ons, currency)
        prices = self._prices.get(key)
        if prices is None:
            prices = SpendPrices(plan, self._bought(plan, add_ons), currency)
            self._prices[key] = prices
        return prices

    def _bought(
        self, plan: PlanVersion, add_ons: Iterable[SubscribedAddOn]
    ) -> list[tuple[AddOn, int]]:
        found = [(self.catalog.add_ons.get(item.add_on), item.quantity) for item in add_ons]
        return [(add_on, quantity) for add_on, quantity in found if add_on is not None]


def for_seats(plan: Entitlements, quantity: int) -> Entitlements:
    """Make limits per seat the limits of that many seats."""
    return {feature: _for_seats(each, quantity) for feature, each in plan.items()}


def _for_seats(entitlement: Entitlement, quantity: int) -> Entitlement:
    if not any(limit.per_seat for limit in entitlement.limits):
        return entitlement
    limits = tuple(
        replace(
            limit,
            limit=None if limit.limit is None else _held(limit.limit * quantity),
            per_seat=False,
        )
        if limit.per_seat
        else limit
        for limit in entitlement.limits
    )
    return replace(entitlement, limits=limits)


def with_add_ons(plan: Entitlements, add_ons: Iterable[tuple[AddOn, int]]) -> Entitlements:
    """Add each add-on `quantity` times to what a plan grants."""
    # Together first, so that their order decides nothing where the plan lacks the feature.
    additions: dict[str, Entitlement] = {}
    for add_on, quantity in add_ons:
        for feature, added in add_on.entitlements.items():
            before = additions.get(feature)
            scaled = _times(added, quantity)
            additions[feature] = scaled if before is None else _both(before, scaled)
    merged = dict(plan)
    for feature, addition in additions.items():
        base = merged.get(feature)
        merged[feature] = addition if base is None or not base.enabled else _sum(base, addition)
    return merged


def with_overrides(base: Entitlements, overrides: Iterable[Override]) -> Entitlements:
    """Replace what overrides name."""
    merged = dict(base)
    for override in overrides:
        entitlement = override.entitlement
        before = merged.get(entitlement.feature)
        if entitlement.enabled and before is not None and _has_bounds(entitlement):
            entitlement = replace(
                entitlement,
                limits=_replace_by_id(before.limits, entitlement.limits),
                rates=_replace_by_id(before.rates, entitlement.rates),
                credit=before.credit,
            )
        merged[entitlement.feature] = entitlement
    return merged


def _has_bounds(entitlement: Entitlement) -> bool:
    """Whether a metered entitlement asks for anything; one that does not is unlimited."""
    return bool(entitlement.limits or entitlement.rates or entitlement.credit)


def _times(entitlement: Entitlement, quantity: int) -> Entitlement:
    if quantity == 1:
        return entitlement
    number = None if entitlement.number is None else _held(entitlement.number * quantity)
    limits = tuple(
        limit if limit.limit is None else replace(limit, limit=_held(limit.limit * quantity))
        for limit in entitlement.limits
    )
    rates = tuple(
        replace(rate, limit=_held(rate.limit * quantity), burst=_held(rate.burst * quantity))
        for rate in entitlement.rates
    )
    return replace(entitlement, number=number, limits=limits, rates=rates)


def _both(one: Entitlement, other: Entitlement) -> Entitlement:
    """Add two additions. Limits and rates that one does not name, it leaves as they are."""
    if not _has_bounds(one) or not _has_bounds(other):
        return replace(_sum_plain(one, other), limits=(), rates=(), credit=None)
    return replace(
        _sum_plain(one, other),
        limits=_sum_by_id(one.limits, other.limits, _sum_limit),
        rates=_sum_by_id(one.rates, other.rates, _sum_rate),
        credit=one.credit or other.credit,
    )


def _sum(base: Entitlement, added: Entitlement) -> Entitlement:
    """Add to what a plan grants: where that has no limit, or no rate, it gets none."""
    both = _both(base, added)
    return replace(
        both,
        limits=both.limits if base.limits else (),
        rates=both.rates if base.rates else (),
    )


def _sum_plain(base: Entitlement, added: Entitlement) -> Entitlement:
    number = base.number
    if number is not None:
        number = None if added.number is None else _held(number + added.number)
    values = base.values + tuple(v for v in added.values if v not in base.values)
    return replace(base, number=number, values=values)


def _sum_by_id(
    base: Sequence[PartT], added: Sequence[PartT], sum_two: Callable[[PartT, PartT], PartT]
) -> tuple[PartT, ...]:
    additions = {part.id: part for part in added}
    summed = [
        sum_two(part, additions.pop(part.id)) if part.id in additions else part for part in base
    ]
    return (*summed, *additions.values())


def _sum_limit(base: Limit, added: Limit) -> Limit:
    if base.limit is None or added.limit is None:
        return replace(base, limit=None)
    return replace(base, limit=_held(base.limit + added.limit))


def _sum_rate(base: Rate, added: Rate) -> Rate:
    return replace(
        base, limit=_held(base.limit + added.limit), burst=_held(base.burst + added.burst)
    )


def _held(number: int) -> int:
    """Keep a number within what counters and the wire hold."""
    return min(number, COUNTER_MAX)


def _replace_by_id(base: Sequence[PartT], own: Sequence[PartT]) -> tuple[PartT, ...]:
    replacing = {part.id: part for part in own}
    kept = [replacing.pop(part.id, part) for part in base]
    return (*kept, *replacing.values())
