"""What differs between two versions of a catalog, and whose entitlements or prices it touches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple

from control_plane.catalog.credit_comparing import (
    credit_grant_trees,
    credit_type_tree,
    draw_text,
    top_up_trees,
    uses_credits,
)
from control_plane.catalog.partner_comparing import partner_app_tree
from control_plane.catalog.price_comparing import price_trees
from control_plane.catalog.tree import Tree, without_empty
from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Enforcement,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    Meter,
    OutageKind,
    PlanVersion,
    Trial,
    UpgradeOffer,
)
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.rate import Rate
from weighbridge.rules.rating.money import plain
from weighbridge.rules.rating.prices import Proration
from weighbridge.rules.reservation import OVERDRAFT, ExcessPolicy
from weighbridge.rules.spend import money_of
from weighbridge.rules.thresholds import NOTIFY_AT

TEXT_LENGTH_MAX: Final = 200

# What changes nothing for those who are on a plan: a trial is fixed when it begins.
_DISPLAY_ONLY: Final = frozenset({"name", "notify_at", "offer", "trial", "upgrades_to"})
# What a partner app may do, customers see only in the app; on the default plan nobody is yet.
_TOUCHING_NOBODY: Final = frozenset({"default_plan", "partner_apps"})
_DISPLAY_OF_CREDITS: Final = frozenset({"name", "unit", "decimals", "worth", "notify_below"})


class ChangeKind(Enum):
    """How a part of a catalog differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """One difference. `before` is empty where added, `after` where removed.

    `plans` and `add_ons` are those whose entitlements or prices it changes: customers on them are
    affected. Names, offers and upgrade paths change neither.
    """

    path: str
    kind: ChangeKind
    before: str
    after: str
    plans: frozenset[str] = frozenset()
    add_ons: frozenset[str] = frozenset()


class _Difference(NamedTuple):
    path: tuple[str, ...]
    kind: ChangeKind
    before: str
    after: str


def diff_catalogs(before: Catalog | None, after: Catalog) -> tuple[CatalogChange, ...]:
    """Compare two versions of a catalog, plans as resolved; of each plan its newest version.

    What is new or gone is one change, not one for each of its parts. A description and the order
    of keys are no part of a catalog.
    """
    catalogs = (after,) if before is None else (before, after)
    old: Tree = {} if before is None else _catalog_tree(before)
    return tuple(
        _change(difference, catalogs) for difference in _differences((), old, _catalog_tree(after))
    )


def next_plan_versions(
    before: Catalog | None, after: Catalog, highest: Mapping[str, int] = MappingProxyType({})
) -> dict[str, int]:
    """Return the version of each plan of `after`: moved by one where its content changed.

    `highest` holds the highest number that each plan ever had, for plans that were removed and
    come back. Content is all that a plan resolves to: entitlements, prices, upgrades, name, offer.
    """
    old = {} if before is None else _plan_trees(before)
    numbers = {}
    for id_, tree in _plan_trees(after).items():
        current = None if before is None else before.plan(id_)
        if current is not None and old[id_] == tree:
            numbers[id_] = current.version
        else:
            floor = 0 if current is None else current.version
            numbers[id_] = max(floor, highest.get(id_, 0)) + 1
    return numbers


def _change(difference: _Difference, catalogs: tuple[Catalog, ...]) -> CatalogChange:
    plans: set[str] = set()
    add_ons: set[str] = set()
    section, *keys = difference.path
    # Of the default plan the path is that word alone.
    id_, *rest = keys or ("",)
    if section in _TOUCHING_NOBODY or (rest and rest[0] in _DISPLAY_ONLY):
        pass
    elif section == "plans":
        plans.add(id_)
    elif section == "add_ons":
        add_ons.add(id_)
    elif section == "credit_types":
        if not rest or rest[0] not in _DISPLAY_OF_CREDITS:
            for catalog in catalogs:
                plans |= {p.plan for p in _plans(catalog) if uses_credits(p, id_)}
                add_ons |= {a.id for a in catalog.add_ons.values() if uses_credits(a, id_)}
    else:
        for catalog in catalogs:
            feature = catalog.features.get(id_)
            # Whoever lacks a feature may use it while it is only observed.
            is_open = feature is not None and feature.enforcement is Enforcement.OBSERVE
            plans |= {p.plan for p in _plans(catalog) if is_open or id_ in p.entitlements}
            add_ons |= {a.id for a in catalog.add_ons.values() if id_ in a.entitlements}
    return CatalogChange(
        path=".".join(difference.path),
        kind=difference.kind,
        before=difference.before,
        after=difference.after,
        plans=frozenset(plans),
        add_ons=frozenset(add_ons),
    )


def _differences(path: tuple[str, ...], before: Tree, after: Tree) -> Iterator[_Difference]:
    if isinstance(before, str) or isinstance(after, str):
        if before != after:
            yield _Difference(path, ChangeKind.CHANGED, _text(before), _text(after))
        return
    for key in {**before, **after}:
        here = (*path, key)
        if key not in before:
            yield from _whole(here, ChangeKind.ADDED, after[key])
        elif key not in after:
            yield from _whole(here, ChangeKind.REMOVED, before[key])
        else:
            yield from _differences(here, before[key], after[key])


def _whole(path: tuple[str, ...], kind: ChangeKind, tree: Tree) -> Iterator[_Difference]:
    if len(path) == 1 and not isinstance(tree, str):
        # A section is no thing of its own; what it holds is.
        for key, part in tree.items():
            yield from _whole((*path, key), kind, part)
    elif kind is ChangeKind.ADDED:
        yield _Difference(path, kind, "", _text(tree))
    else:
        yield _Difference(path, kind, _text(tree), "")


def _text(tree: Tree) -> str:
    text = _flow(tree).removeprefix("{").removesuffix("}") if isinstance(tree, Mapping) else tree
    return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + "..."


def _flow(tree: Tree) -> str:
    if isinstance(tree, str):
        return tree
    return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in tree.items()) + "}"


def _plans(catalog: Catalog) -> Iterator[PlanVersion]:
    for id_ in catalog.plans:
        plan = catalog.plan(id_)
        if plan is not None:
            yield plan


def _plan_trees(catalog: Catalog) -> dict[str, Tree]:
    return {plan.plan: _plan_tree(plan, catalog) for plan in _plans(catalog)}


def _catalog_tree(catalog: Catalog) -> Tree:
    return {
        **({"default_plan": catalog.default_plan} if catalog.default_plan else {}),
        "features": {id_: _feature_tree(each) for id_, each in catalog.features.items()},
        "plans": _plan_trees(catalog),
        "add_ons": {id_: _add_on_tree(each, catalog) for id_, each in catalog.add_ons.items()},
        "credit_types": {id_: credit_type_tree(each) for id_, each in catalog.credit_types.items()},
        "partner_apps": {id_: partner_app_tree(each) for id_, each in catalog.partner_apps.items()},
    }


def _feature_tree(feature: Feature) -> Tree:
    outage = feature.outage.kind.value
    if feature.outage.kind is OutageKind.SAFE_CAPACITY:
        outage += f" {feature.outage.capacity}"
    return without_empty(
        {
            "type": feature.type.value,
            "name": feature.name,
            "unit": "" if feature.spend else feature.unit,
            "currency": feature.spend.currency.code if feature.spend else "",
            "of": _set_text(feature.spend.features) if feature.spend else "",
            "meter": "" if feature.meter is Meter.SUM else feature.meter.value,
            "values": _set_text(feature.values),
            "consistency": _consistency(feature),
            "lost_lease": (
                "" if feature.lost_lease is LostLease.CHARGE else feature.lost_lease.value
            ),
            "outage": outage if feature.type is FeatureType.METERED else "",
            "excess": _excess(feature.excess),
            "notify_at": _percents(feature.notify_at),
            "enforcement": (
                "" if feature.enforcement is Enforcement.ENFORCE else feature.enforcement.value
            ),
        }
    )


def _consistency(feature: Feature) -> str:
    is_told = feature.type is FeatureType.METERED and feature.consistency is not Consistency.LEASED
    return feature.consistency.value if is_told else ""


def _percents(notify_at: tuple[int, ...]) -> str:
    if notify_at == NOTIFY_AT:
        return ""
    return ", ".join(f"{each} %" for each in notify_at) or "never"


def _excess(excess: ExcessPolicy) -> str:
    if excess == OVERDRAFT:
        return ""
    bound = "" if excess.units_max is None else f" {excess.units_max}"
    return f"{excess.kind.value}{bound}"


def _plan_tree(plan: PlanVersion, catalog: Catalog) -> Tree:
    display = without_empty(
        {
            "name": plan.name,
            "trial": _trial_tree(plan.trial),
            "upgrades_to": ", ".join(plan.upgrades_to),
            "offer": _offer_tree(plan.offer),
        }
    )
    costs = without_empty(
        {
            "prices": price_trees(plan.prices),
            "credit_grants": credit_grant_trees(plan.credit_grants),
            "top_ups": top_up_trees(plan.top_ups),
            "proration": "" if plan.proration is Proration.TIME else plan.proration.value,
        }
    )
    return {"features": _entitlement_trees(plan.entitlements, catalog), **costs, **display}


def _add_on_tree(add_on: AddOn, catalog: Catalog) -> Tree:
    return without_empty(
        {
            "name": add_on.name,
            "plans": _set_text(add_on.plans),
            "features": {
                id_: _addition_tree(each, add_on, catalog)
                for id_, each in add_on.entitlements.items()
            },
            "prices": price_trees(add_on.prices),
            "credit_grants": credit_grant_trees(add_on.credit_grants),
            "offer": _offer_tree(add_on.offer),
        }
    )


def _addition_tree(entitlement: Entitlement, add_on: AddOn, catalog: Catalog) -> Tree:
    """Write what an add-on adds; of what a plan has too, only the numbers are its own."""
    if not entitlement.limits and not entitlement.rates and entitlement.credit is None:
        return _entitlement_tree(catalog.features[entitlement.feature], entitlement)
    of_plans = [
        plan.entitlements[entitlement.feature]
        for plan in _plans(catalog)
        if add_on.suits(plan.plan) and entitlement.feature in plan.entitlements
    ]
    feature = catalog.features[entitlement.feature]
    limits_of_plans = {limit.id for each in of_plans for limit in each.limits}
    rates_of_plans = {rate.id for each in of_plans for rate in each.rates}
    limits: dict[str, Tree] = {}
    for limit in entitlement.limits:
        added: dict[str, Tree] = {"limit": _limit_text(limit, feature)}
        limits[limit.id] = added if limit.id in limits_of_plans else _limit_tree(limit, feature)
    rates: dict[str, Tree] = {}
    for rate in entitlement.rates:
        added = {"limit": str(rate.limit), "burst": str(rate.burst)}
        rates[rate.id] = added if rate.id in rates_of_plans else _rate_tree(rate)
    credit = draw_text(entitlement.credit)
    return without_empty({"limits": limits, "rates": rates, "credits": credit})


def _offer_tree(offer: UpgradeOffer) -> Tree:
    return without_empty({"message": offer.message, "url": offer.url})


def _entitlement_trees(entitlements: Mapping[str, Entitlement], catalog: Catalog) -> Tree:
    return {
        id_: _entitlement_tree(catalog.features[id_], each) for id_, each in entitlements.items()
    }


def _entitlement_tree(feature: Feature, entitlement: Entitlement) -> Tree:
    match feature.type:
        case FeatureType.BOOLEAN:
            return "true"
        case FeatureType.NUMBER:
            return _number_text(entitlement.number)
        case FeatureType.ENUM:
            return _set_text(entitlement.values)
        case FeatureType.METERED:
            tree = without_empty(
                {
                    "limits": {each.id: _limit_tree(each, feature) for each in entitlement.limits},
                    "rates": {rate.id: _rate_tree(rate) for rate in entitlement.rates},
                    "credits": draw_text(entitlement.credit),
                }
            )
            return tree or "unlimited"


def _limit_tree(limit: Limit, feature: Feature) -> Tree:
    return {
        "limit": _limit_text(limit, feature),
        "kind": limit.kind.value,
        "window": limit.window.text,
        **({"per_seat": "true"} if limit.per_seat else {}),
    }


def _trial_tree(trial: Trial | None) -> Tree:
    if trial is None:
        return {}
    return {"days": str(trial.days), "at_end": trial.then or "cancel"}


def _rate_tree(rate: Rate) -> Tree:
    return {
        "limit": str(rate.limit),
        "per": rate.period.value,
        "burst": str(rate.burst),
        "scope": rate.scope.value,
    }


def _limit_text(limit: Limit, feature: Feature) -> str:
    if feature.spend is None or limit.limit is None:
        return _number_text(limit.limit)
    currency = feature.spend.currency
    return f"{plain(money_of(limit.limit, currency))} {currency.code}"


def _number_text(number: int | None) -> str:
    return "unlimited" if number is None else str(number)


def _set_text(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
