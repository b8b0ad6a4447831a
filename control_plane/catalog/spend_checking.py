"""What is wrong with spend features: what they count, their limits, and prices without bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from control_plane.catalog.currencies import currency_of, find_currency
from control_plane.catalog.document import CatalogDocument
from control_plane.catalog.document_parts import NO_CURRENCY
from control_plane.catalog.feature_document import FeatureDocument, MeteredFeature
from control_plane.catalog.grant_document import (
    AddOnGrant,
    AddOnLimitDocument,
    AddOnLimitsDocument,
    Grant,
    LimitDocument,
    LimitsDocument,
    RollingWindow,
    SessionWindow,
)
from control_plane.catalog.price_document import (
    AnyPriceDocument,
    CommitmentPriceDocument,
    CreditPriceDocument,
    MinimumPriceDocument,
    PercentPriceDocument,
    PricesDocument,
    VolumePriceDocument,
)
from control_plane.catalog.problem import Finding, Path, quoted, unknown
from weighbridge.rules.rating.money import plain
from weighbridge.rules.spend import MICRO_PLACES, SPEND_MAX, micros_of, money_of

_SPEND_ONLY: Final = ("currency", "of")
_NOT_OF_SPEND: Final = ("unit", "consistency", "outage", "excess", "enforcement")

# Why the most that usage could still cost is not known, and what to write instead.
_UNBOUNDED: Final[Mapping[type[AnyPriceDocument], tuple[str, str]]] = {
    VolumePriceDocument: ("volume", "prices earlier usage again with each unit; write graduated"),
    PercentPriceDocument: (
        "percent",
        "is a percentage, whose cap and flat part are of each transaction; price it by the unit",
    ),
    MinimumPriceDocument: ("minimum", "charges what was not used; write a flat price"),
    CommitmentPriceDocument: ("commitment", "pays for usage in advance; write a flat price"),
}


def is_spend(feature: FeatureDocument | None) -> bool:
    """Whether a feature counts money."""
    return isinstance(feature, MeteredFeature) and feature.meter == "spend"


def spend_references(document: CatalogDocument) -> Iterator[Finding]:
    """Find spend features that are wrong by themselves, and limits that fit no such feature."""
    for id_, feature in document.features.items():
        if isinstance(feature, MeteredFeature):
            yield from _feature(("features", id_), feature, document)
    for section, owners in (("plans", document.plans), ("add_ons", document.add_ons)):
        for owner, written in owners.items():
            for id_, grant in written.features.items():
                path: Path = (section, owner, "features", id_)
                yield from _grant(path, document.features.get(id_), grant)


def spend_prices(document: CatalogDocument) -> Iterator[Finding]:
    """Find prices that no spend limit can bound. References are sound here."""
    spends = {
        id_: feature
        for id_, feature in document.features.items()
        if isinstance(feature, MeteredFeature) and feature.meter == "spend"
    }
    if not spends:
        return
    lists: list[tuple[Path, PricesDocument]] = [
        (("plans", id_, "prices"), plan.prices or {}) for id_, plan in document.plans.items()
    ]
    lists += [
        (("add_ons", id_, "prices"), add_on.prices or {})
        for id_, add_on in document.add_ons.items()
    ]
    for path, prices in lists:
        for code, written in prices.items():
            counting = {id_: each for id_, each in spends.items() if each.currency == code}
            for position, price in enumerate(written):
                yield from _unbounded((*path, code, position), price, counting)


def _feature(path: Path, feature: MeteredFeature, document: CatalogDocument) -> Iterator[Finding]:
    if feature.meter != "spend":
        for key in _SPEND_ONLY:
            if key in feature.model_fields_set:
                yield (*path, key), "belongs to a feature with meter: spend; leave it out"
        return
    for key in _NOT_OF_SPEND:
        if key in feature.model_fields_set:
            text = "cannot be said of a spend meter: it counts money, and is always leased"
            yield (*path, key), f"{text}; leave it out"
    if feature.currency is None:
        yield (*path, "currency"), "is missing; a spend meter says of which currency"
    elif find_currency(feature.currency) is None:
        yield (*path, "currency"), NO_CURRENCY
    yield from _counted((*path, "of"), feature.of or (), document)


def _counted(path: Path, named: Sequence[str], document: CatalogDocument) -> Iterator[Finding]:
    for position, id_ in enumerate(named):
        counted = document.features.get(id_)
        if counted is None:
            yield (*path, position), unknown("feature", id_, document.features)
        elif not isinstance(counted, MeteredFeature) or counted.meter != "sum":
            text = f"{id_} is not a feature whose usage is summed, so it has no usage that costs"
            yield (*path, position), text
        elif id_ in named[:position]:
            yield (*path, position), f"{quoted(id_)} is there twice; keep one"


def _grant(
    path: Path, feature: FeatureDocument | None, grant: Grant | AddOnGrant
) -> Iterator[Finding]:
    if not isinstance(grant, LimitsDocument | AddOnLimitsDocument):
        return
    limits: Sequence[LimitDocument | AddOnLimitDocument] = grant.limits or ()
    if isinstance(feature, MeteredFeature) and is_spend(feature):
        for key in ("rates", "credits"):
            if getattr(grant, key) is not None:
                yield (*path, key), "cannot be given of a spend meter; write limits"
        for position, limit in enumerate(limits):
            yield from _limit((*path, "limits", position), limit, feature.currency or "")
        return
    for position, limit in enumerate(limits):
        if isinstance(limit.limit, Decimal):
            text = f"must be an integer, but is the number {limit.limit}; only money has fractions"
            yield (*path, "limits", position, "limit"), text


def _limit(
    path: Path, limit: LimitDocument | AddOnLimitDocument, currency: str
) -> Iterator[Finding]:
    if isinstance(limit.window, RollingWindow | SessionWindow):
        text = "moves with usage; money is counted in calendar, anniversary or lifetime windows"
        yield (*path, "window"), text
    if not isinstance(limit.limit, str):
        yield from _money((*path, "limit"), Decimal(limit.limit), currency)


def _money(path: Path, amount: Decimal, code: str) -> Iterator[Finding]:
    if find_currency(code) is None:
        return
    currency = currency_of(code)
    micros = micros_of(amount, currency)
    if micros is None:
        places = currency.exponent + MICRO_PLACES
        yield path, f"{plain(amount)} {code} has more than {places} decimal places"
    elif micros > SPEND_MAX:
        most = plain(money_of(SPEND_MAX, currency))
        yield path, f"{plain(amount)} {code} is too large; at most {most}"


def _unbounded(
    path: Path, price: AnyPriceDocument, counting: Mapping[str, MeteredFeature]
) -> Iterator[Finding]:
    found = _UNBOUNDED.get(type(price))
    if found is None or isinstance(price, CreditPriceDocument):
        return
    is_of_usage = getattr(price, "of", "usage") == "usage"
    for id_, feature in counting.items():
        is_covered = price.feature is None or feature.of is None or price.feature in feature.of
        if is_of_usage and is_covered:
            key, why = found
            yield (*path, key), f"{why}: {id_} counts what its usage costs, and has to bound it"
            return
