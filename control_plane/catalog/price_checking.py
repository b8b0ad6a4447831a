"""What no single price shows: features that must exist, tables, clashes, currencies, allowances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from control_plane.catalog.compiling import (
    Entitlements,
    add_on_entitlements,
    resolve_plans,
    suited_plans,
)
from control_plane.catalog.currencies import currency_of, find_currency
from control_plane.catalog.document import CatalogDocument
from control_plane.catalog.document_parts import NO_CURRENCY
from control_plane.catalog.price_compiling import compile_price_list, price_key, resolve_prices
from control_plane.catalog.price_document import (
    AllowanceDocument,
    AnyPriceDocument,
    CountedPriceDocument,
    CreditPriceDocument,
    FeaturePrice,
    GraduatedPriceDocument,
    PercentPriceDocument,
    PricesDocument,
    TierDocument,
    UnitPriceDocument,
    VolumePriceDocument,
)
from control_plane.catalog.problem import Finding, Path, listed, quoted, unknown
from weighbridge.rules.catalog import Limit, LimitKind
from weighbridge.rules.rating.prices import clashes
from weighbridge.rules.rating.tiers import tier_problems
from weighbridge.rules.window import WindowKind

PRICES_IN_ALL_MAX: Final = 20_000
"""Prices and tiers of all plans, inherited ones included: it bounds what comparing costs."""

_OF_USAGE_ONLY: Final = {
    "seats": ("match", "included_per_seat", "past_limit"),
    "fees": ("feature", "match", "flat_per_transaction", "cap"),
}


def price_references(document: CatalogDocument) -> Iterator[Finding]:
    """Find prices that are wrong by themselves or beside others of their list."""
    for id_, plan in document.plans.items():
        yield from _lists(("plans", id_, "prices"), plan.prices or {}, document)
    for id_, add_on in document.add_ons.items():
        if add_on.prices is None and not add_on.features and not add_on.credit_grants:
            text = "is missing: an add-on adds features or credits, or has prices"
            yield ("add_ons", id_, "features"), text
        yield from _lists(("add_ons", id_, "prices"), add_on.prices or {}, document)


def prices_together(document: CatalogDocument) -> Iterator[Finding]:
    """Find what plans, their add-ons and their limits make wrong. References are sound here."""
    resolved = resolve_prices(document)
    size = sum(_size(prices) for _, prices in resolved.values())
    if size > PRICES_IN_ALL_MAX:
        text = f"have {size} prices and tiers, inherited ones included; at most"
        yield ("plans",), f"{text} {PRICES_IN_ALL_MAX}"
    yield from _change_currencies(document, {id_: prices for id_, (_, prices) in resolved.items()})
    entitlements = resolve_plans(document)
    for id_, (writer, prices) in resolved.items():
        owner = f"plan {quoted(id_)}" + ("" if writer == id_ else ", which inherits this price,")
        for path, price in _past_limits(("plans", writer, "prices"), prices):
            yield from _past_limit(path, price, owner, entitlements[id_])
    for id_, add_on in document.add_ons.items():
        suited = suited_plans(add_on, document)
        yield from _same_currencies(id_, add_on.prices, {p: resolved[p][1] for p in suited})
        own = add_on_entitlements(add_on, document, entitlements)
        for path, price in _past_limits(("add_ons", id_, "prices"), add_on.prices or {}):
            for plan in suited:
                granted = {**own, **entitlements[plan]}
                yield from _past_limit(path, price, f"plan {quoted(plan)}", granted)


def _lists(path: Path, prices: PricesDocument, document: CatalogDocument) -> Iterator[Finding]:
    for code, written in prices.items():
        if find_currency(code) is None:
            yield (*path, code), NO_CURRENCY
            continue
        found = [
            finding
            for position, price in enumerate(written)
            for finding in _price((*path, code, position), price, document)
        ]
        yield from found
        if not found:
            yield from _beside_each_other((*path, code), code, written)
    yield from _same_things(path, prices)


def _price(path: Path, price: AnyPriceDocument, document: CatalogDocument) -> Iterator[Finding]:
    yield from _subject(path, price, document)
    of = getattr(price, "of", "usage")
    for key in _OF_USAGE_ONLY.get(of, ()):
        if key in price.model_fields_set:
            yield (*path, key), f"says something of usage, but this price is of {of}; leave it out"
    if isinstance(price, GraduatedPriceDocument):
        yield from _tiers((*path, "graduated"), price.graduated)
    elif isinstance(price, VolumePriceDocument):
        yield from _tiers((*path, "volume"), price.volume)
    if isinstance(price, AllowanceDocument) and price.past_limit is not None:
        for key in ("included", "included_per_seat"):
            if key in price.model_fields_set:
                yield (*path, key), "is there beside past_limit; keep one of them"


def _subject(path: Path, price: AnyPriceDocument, document: CatalogDocument) -> Iterator[Finding]:
    """Find a price of a feature or credit type that is not there, or of nothing."""
    if not isinstance(price, CreditPriceDocument):
        yield from _feature(path, price, document)
    elif price.credits not in document.credit_types:
        yield (*path, "credits"), unknown("credit type", price.credits, document.credit_types)


def _feature(path: Path, price: FeaturePrice, document: CatalogDocument) -> Iterator[Finding]:
    is_of_usage = isinstance(price, UnitPriceDocument) or (
        isinstance(price, CountedPriceDocument | PercentPriceDocument) and price.of == "usage"
    )
    if price.feature is None:
        if is_of_usage:
            yield (*path, "feature"), "is missing; a price of usage says of what"
        return
    feature = document.features.get(price.feature)
    if feature is None:
        yield (*path, "feature"), unknown("feature", price.feature, document.features)
    elif is_of_usage and feature.type != "metered":
        text = f"{price.feature} is not metered (but {feature.type}), so there is no usage to price"
        yield (*path, "feature"), text
    elif is_of_usage and getattr(feature, "meter", "") == "spend":
        text = f"{price.feature} is money that other usage costs, so there is nothing to price"
        yield (*path, "feature"), text


def _tiers(path: Path, tiers: Sequence[TierDocument]) -> Iterator[Finding]:
    for position, text in tier_problems([tier.up_to for tier in tiers]):
        yield (*path, position, "up_to"), text
    reached = 0
    for position, tier in enumerate(tiers):
        if tier.above is not None and tier.above != reached:
            what = "leaves a gap" if tier.above > reached else "overlaps"
            text = f"{tier.above} {what}: the tiers before it end at {reached}"
            yield (*path, position, "above"), text
        if tier.unit is None and tier.flat is None:
            yield (*path, position), "has no price; write unit, flat or both (0 is free)"
        reached = reached if tier.up_to is None else tier.up_to


def _beside_each_other(
    path: Path, code: str, written: Sequence[AnyPriceDocument]
) -> Iterator[Finding]:
    prices = compile_price_list(written, currency_of(code))
    position_of = {id(price): position for position, price in enumerate(prices)}
    clashing = set()
    for one, other in clashes(prices):
        position = position_of[id(other)]
        clashing.add(position)
        text = f"fits the same usage as {code}[{position_of[id(one)]}]; let their matches differ"
        yield (*path, position), text
    first_with: dict[str, int] = {}
    for position, price in enumerate(prices):
        first = first_with.setdefault(price.key, position)
        if first != position and position not in clashing:
            text = f"{code}[{first}] is called {quoted(price.key)} too; give each price an id"
            yield (*path, position), text


def _same_things(path: Path, prices: PricesDocument) -> Iterator[Finding]:
    """Find what costs something in one currency only: a customer of another would get it free."""
    names = {code: [price_key(price) for price in written] for code, written in prices.items()}
    for code, own in names.items():
        for other, theirs in names.items():
            missing = [name for name in theirs if name not in own]
            if missing:
                text = f"has no price {quoted(missing[0])}, but {other} has"
                yield (*path, code), f"{text}; a plan costs the same things in each currency"
                break


def _change_currencies(
    document: CatalogDocument, prices: Mapping[str, PricesDocument]
) -> Iterator[Finding]:
    """Find plans to change to that are not sold in the currency: a change keeps it."""
    for id_, plan in document.plans.items():
        others: list[tuple[Path, str]] = [
            (("upgrades_to", position), above) for position, above in enumerate(plan.upgrades_to)
        ]
        if plan.trial is not None:
            others.append((("trial", "at_end"), plan.trial.at_end))
        for place, other in others:
            sold = prices.get(other)
            missing = [code for code in prices[id_] if sold and code not in sold]
            if missing:
                text = f"plan {quoted(other)} is not sold in {missing[0]}, in which this plan is"
                yield ("plans", id_, *place), f"{text}; a change of plan keeps the currency"


def _same_currencies(
    add_on: str, prices: PricesDocument | None, plans: Mapping[str, PricesDocument]
) -> Iterator[Finding]:
    if prices is None:
        return
    for plan, written in plans.items():
        missing = [code for code in written if code not in prices]
        if missing:
            text = f"has no prices in {missing[0]}, in which plan {quoted(plan)} is sold"
            yield ("add_ons", add_on, "prices"), text
            return
    sold = {code for written in plans.values() for code in written}
    for code in prices:
        # Plans that cost nothing are sold in any currency.
        if code not in sold and all(plans.values()):
            text = f"no plan that it suits is sold in {code}, but in {listed(sorted(sold))}"
            yield ("add_ons", add_on, "prices", code), text


def _size(prices: PricesDocument) -> int:
    tables = [
        getattr(price, "graduated", None) or getattr(price, "volume", None) or ()
        for written in prices.values()
        for price in written
    ]
    return sum(1 + len(table) for table in tables)


def _past_limits(
    path: Path, prices: PricesDocument
) -> Iterator[tuple[Path, UnitPriceDocument | CountedPriceDocument]]:
    for code, written in prices.items():
        for position, price in enumerate(written):
            if isinstance(price, UnitPriceDocument | CountedPriceDocument) and price.past_limit:
                yield (*path, code, position, "past_limit"), price


def _past_limit(
    path: Path,
    price: UnitPriceDocument | CountedPriceDocument,
    owner: str,
    entitlements: Entitlements,
) -> Iterator[Finding]:
    feature, id_ = price.feature or "", price.past_limit or ""
    entitlement = entitlements.get(feature)
    limits = () if entitlement is None else entitlement.limits
    limit = next((each for each in limits if each.id == id_), None)
    if limit is None:
        has = f"; it has: {listed([each.id for each in limits])}" if limits else ""
        yield path, f"{owner} has no limit {quoted(id_)} on {feature} to charge past{has}"
    else:
        problem = _unpassable(limit, price.every)
        if problem:
            yield path, f"{owner} has a limit {quoted(id_)} on {feature} that {problem}"


def _unpassable(limit: Limit, every: str) -> str:
    if limit.kind is LimitKind.HARD:
        return "is hard, so usage never goes past it; make it soft"
    if limit.limit is None:
        return "is unlimited, so there is nothing past it"
    if limit.window.period is None or limit.window.period.value != every:
        is_lifetime = limit.window.kind is WindowKind.LIFETIME
        window = "never turns" if is_lifetime else f"turns by {limit.window.text}"
        return f"{window}, but the price is charged every {every}; let them agree"
    return ""
