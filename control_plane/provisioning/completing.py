"""Entitlements of overrides: what fits a feature, and what is completed from the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from control_plane.provisioning.checks import (
    LIMITS_MAX,
    VALUES_MAX,
    named_few,
    require_distinct,
    require_few,
)
from control_plane.provisioning.wanted import WantedEntitlement, WantedLimit
from weighbridge.rules.catalog import (
    Catalog,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    Subscription,
)
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.rules.lifecycle import plan_at
from weighbridge.rules.rate import Rate
from weighbridge.rules.rating.money import require_count
from weighbridge.rules.spend import SPEND_MAX
from weighbridge.rules.units import AMOUNT_MAX, require_amount, require_id
from weighbridge.rules.window import MOVING_KINDS, Window, WindowKind

NUMBER: Final = "entitlement.number"
VALUES: Final = "entitlement.values"
LIMITS: Final = "entitlement.limits"
RATES: Final = "entitlement.rates"
HELD: Final = Window(WindowKind.LIFETIME)

FIELDS_OF_TYPE: Final[Mapping[FeatureType, tuple[str, ...]]] = {
    FeatureType.BOOLEAN: (),
    FeatureType.NUMBER: (NUMBER,),
    FeatureType.ENUM: (VALUES,),
    FeatureType.METERED: (LIMITS, RATES),
}


def require_fitting(feature: Feature, wanted: WantedEntitlement) -> None:
    """Raise InvalidArgumentError where a field does not fit the feature, or holds too much."""
    fitting = FIELDS_OF_TYPE[feature.type] if wanted.enabled else ()
    given = {
        NUMBER: wanted.number is not None,
        VALUES: bool(wanted.values),
        LIMITS: bool(wanted.limits),
        RATES: bool(wanted.rates),
    }
    for field, is_given in given.items():
        if is_given and field not in fitting:
            why = f"{feature.id!r} is {feature.type.value}" if wanted.enabled else "not enabled"
            raise InvalidArgumentError(field, f"cannot be given: {why}; leave it out")
    if not wanted.enabled:
        return
    if wanted.number is not None:
        require_amount(NUMBER, wanted.number)
    if feature.type is FeatureType.ENUM:
        _require_values(feature, wanted.values)
    _require_limits(wanted.limits, AMOUNT_MAX if feature.spend is None else SPEND_MAX)
    if feature.is_allocation:
        _require_held(wanted.limits)
    if feature.spend is not None:
        _require_money(wanted)
    _require_rates(wanted.rates)


def _require_values(feature: Feature, values: tuple[str, ...]) -> None:
    if not values:
        raise InvalidArgumentError(VALUES, f"is empty; name some of {named_few(feature.values)}")
    require_few(VALUES, values, VALUES_MAX)
    for index, value in enumerate(values):
        if value not in feature.values:
            raise InvalidArgumentError(
                f"{VALUES}[{index}]",
                f"{value[:64]!r} is not a value of {feature.id!r}: {named_few(feature.values)}",
            )
    require_distinct(VALUES, values)


def _require_limits(limits: tuple[WantedLimit, ...], most: int) -> None:
    require_few(LIMITS, limits, LIMITS_MAX)
    for index, limit in enumerate(limits):
        require_id(f"{LIMITS}[{index}].id", limit.id)
        if limit.limit is not None:
            require_count(f"{LIMITS}[{index}].limit", limit.limit, 0, most)
    require_distinct(LIMITS, (limit.id for limit in limits))


def _require_held(limits: tuple[WantedLimit, ...]) -> None:
    for index, limit in enumerate(limits):
        if limit.window is not None and limit.window != HELD:
            raise InvalidArgumentError(
                f"{LIMITS}[{index}].window",
                "is for usage; of an allocation feature, what is held now counts: leave it out",
            )


def _require_money(wanted: WantedEntitlement) -> None:
    if wanted.rates:
        raise InvalidArgumentError(RATES, "cannot be given of a spend meter; give limits")
    for index, limit in enumerate(wanted.limits):
        if limit.window is not None and limit.window.kind in MOVING_KINDS:
            raise InvalidArgumentError(
                f"{LIMITS}[{index}].window",
                "moves with usage; money is counted in calendar, anniversary or lifetime windows",
            )


def _require_rates(rates: tuple[Rate, ...]) -> None:
    require_few(RATES, rates, LIMITS_MAX)
    for index, rate in enumerate(rates):
        require_id(f"{RATES}[{index}].id", rate.id)
        for name, amount in (("limit", rate.limit), ("burst", rate.burst)):
            field = f"{RATES}[{index}].{name}"
            if not require_amount(field, amount):
                raise InvalidArgumentError(field, "is 0; a rate lets at least 1 unit through")
    require_distinct(RATES, (rate.id for rate in rates))


def complete_entitlement(
    catalog: Catalog, subscription: Subscription | None, wanted: WantedEntitlement, now_ms: int
) -> Entitlement:
    """Take kind and window that limits leave out from the subscription's plan and add-ons.

    What is held now has but one window, so no limit of it has to name that.
    """
    if catalog.features[wanted.feature].is_allocation:
        held = tuple(replace(limit, window=HELD) for limit in wanted.limits)
        wanted = replace(wanted, limits=held)
    is_complete = all(limit.kind and limit.window for limit in wanted.limits)
    granted = () if is_complete else _granted_limits(catalog, subscription, wanted.feature, now_ms)
    by_id = {limit.id: limit for limit in granted}
    return Entitlement(
        feature=wanted.feature,
        enabled=wanted.enabled,
        number=wanted.number,
        values=wanted.values,
        limits=tuple(
            _complete_limit(f"{LIMITS}[{index}]", limit, by_id.get(limit.id))
            for index, limit in enumerate(wanted.limits)
        ),
        rates=wanted.rates,
    )


def _granted_limits(
    catalog: Catalog, subscription: Subscription | None, feature: str, now_ms: int
) -> tuple[Limit, ...]:
    if subscription is None:
        raise FailedPreconditionError(
            "a limit without kind or window takes them from the plan, and there is no active "
            f"subscription; give {LIMITS} with both, or subscribe first"
        )
    plan = plan_at(catalog, subscription, now_ms).plan
    if plan is None:
        return ()
    granted = (
        PlanCompiler(catalog)
        .entitlements(plan, subscription.add_ons, subscription.quantity)
        .get(feature)
    )
    return () if granted is None else granted.limits


def _complete_limit(field: str, wanted: WantedLimit, granted: Limit | None) -> Limit:
    kind = wanted.kind or (granted.kind if granted else None)
    window = wanted.window or (granted.window if granted else None)
    if kind is None:
        raise InvalidArgumentError(f"{field}.kind", _missing(wanted))
    if window is None:
        raise InvalidArgumentError(f"{field}.window", _missing(wanted))
    return Limit(wanted.id, kind, wanted.limit, window)


def _missing(wanted: WantedLimit) -> str:
    return f"is not set, and the plan has no limit {wanted.id!r} on the feature to take it from"
