"""Prices, usage and catalogs for tests of rating; and a model of it in fractions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from control_plane.catalog import compile_catalog, load_document
from tests.golden_tables import catalog_path
from weighbridge.rules.catalog import Catalog
from weighbridge.rules.entitlement import with_add_ons
from weighbridge.rules.rating.charge import Charge, LineItem, LineKind
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import (
    Counted,
    FlatPrice,
    MinimumPrice,
    PercentagePrice,
    QuantityPrice,
)
from weighbridge.rules.rating.subscribed import terms_of
from weighbridge.rules.rating.terms import Terms
from weighbridge.rules.rating.tiers import (
    Package,
    Rate,
    Tier,
    TierMode,
    TierTable,
    UnitRate,
    total,
)
from weighbridge.rules.rating.usage import Usage

USD = Currency("USD", 2)
EUR = Currency("EUR", 2)
JPY = Currency("JPY", 0)
BHD = Currency("BHD", 3)

DAY_MS = 86_400_000
# A month of 30 days, so that shares of it are easy to read.
MONTH = BillingPeriod(100 * DAY_MS, 130 * DAY_MS)


def flat(amount: str, key: str = "flat", **more: Any) -> FlatPrice:
    return FlatPrice(key=key, currency=more.pop("currency", USD), amount=Decimal(amount), **more)


def minimum(amount: str, key: str = "minimum", **more: Any) -> MinimumPrice:
    return MinimumPrice(key=key, currency=USD, amount=Decimal(amount), **more)


def of_usage(rate: Rate, feature: str = "calls", key: str = "calls", **more: Any) -> QuantityPrice:
    currency = more.pop("currency", USD)
    return QuantityPrice(key=key, currency=currency, rate=rate, feature=feature, **more)


def of_seats(rate: Rate, key: str = "per_seat", **more: Any) -> QuantityPrice:
    return QuantityPrice(key=key, currency=USD, rate=rate, counted=Counted.SEATS, **more)


def per_unit(amount: str, per: int = 1) -> UnitRate:
    return UnitRate(Decimal(amount), per)


def package(amount: str, size: int) -> Package:
    return Package(Decimal(amount), size)


def table(mode: TierMode, *tiers: tuple[int | None, str, str], per: int = 1) -> TierTable:
    built = tuple(Tier(up_to, Decimal(unit), Decimal(once)) for up_to, unit, once in tiers)
    return TierTable(mode, built, per)


def percentage(percent: str, feature: str = "sales", **more: Any) -> PercentagePrice:
    return PercentagePrice(
        key=feature, currency=USD, percent=Decimal(percent), feature=feature, **more
    )


def calls(quantity: int, carried: int = 0, **dimensions: str) -> Usage:
    return Usage("calls", quantity, tuple(sorted(dimensions.items())), carried)


def sales(minor: int, transactions: int = 1) -> Usage:
    return Usage("sales", minor, transactions=transactions)


def lines_of(charge: Charge, kind: LineKind) -> list[LineItem]:
    return [line for line in charge.lines if line.origin.kind is kind]


def amounts(charge: Charge) -> dict[str, int]:
    """Return what each price charges, in minor units; by key, or by kind where two share one."""
    named = [(line.origin.key, line) for line in charge.lines]
    keys = [key for key, _ in named]
    return {
        (key if keys.count(key) == 1 else f"{key}:{line.origin.kind.value}"): line.minor
        for key, line in named
    }


def cost(rate: Rate, before: int, units: int) -> Fraction:
    """Return what a rate charges, as a fraction."""
    return Fraction(total(rate.segments(before, units), rate.per)) / rate.per


def model_cost(rate: Rate, units: int) -> Fraction:
    """Work out unit by unit what the first `units` cost, without any decimal."""
    if isinstance(rate, UnitRate):
        return sum((Fraction(rate.amount) / rate.per for _ in range(units)), Fraction(0))
    if isinstance(rate, Package):
        started = {unit // rate.size for unit in range(units)}
        return Fraction(rate.amount) * len(started)
    used = [_tier_of(rate, unit) for unit in range(1, units + 1)]
    if rate.mode is TierMode.VOLUME:
        used = used[-1:] * units
    entered = {id(tier): tier for tier in used}.values()
    each = sum((Fraction(tier.unit) / rate.per for tier in used), Fraction(0))
    return each + sum((Fraction(tier.flat) for tier in entered), Fraction(0))


def _tier_of(rate: TierTable, unit: int) -> Tier:
    return next(tier for tier in rate.tiers if tier.up_to is None or unit <= tier.up_to)


def half_up(amount: Fraction, exponent: int) -> int:
    """Round by the text of the number: look at the first digit behind the minor unit."""
    tenths = abs(amount) * Fraction(10) ** (exponent + 1)
    digits: int = tenths.numerator // tenths.denominator
    nearest = digits // 10 + (1 if digits % 10 >= 5 else 0)
    return nearest if amount >= 0 else -nearest


def catalog_of(name: str) -> Catalog:
    """Return an example catalog, else one of the golden folder."""
    path = catalog_path(name)
    return compile_catalog(load_document(path.read_text("utf-8"), path.name), 1)


def subscribed(
    catalog: Catalog, plan_id: str, seats: int = 1, add_ons: Mapping[str, int] | None = None
) -> Terms:
    """Return the terms, in USD, of a subscription to a plan of a catalog."""
    plan = catalog.plan(plan_id)
    assert plan is not None
    bought = [(catalog.add_ons[id_], pieces) for id_, pieces in (add_ons or {}).items()]
    assert all(add_on.suits(plan_id) for add_on, _ in bought)
    return terms_of(plan, bought, with_add_ons(plan.entitlements, bought), seats, "USD")
