"""Prices as written to the prices of the rules. They were checked: nothing is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from control_plane.catalog.currencies import currency_of
from control_plane.catalog.document import CatalogDocument
from control_plane.catalog.price_document import (
    AnyPriceDocument,
    CommitmentPriceDocument,
    CountedPrice,
    CountedPriceDocument,
    CreditPriceDocument,
    FeaturePrice,
    FlatPriceDocument,
    GraduatedPriceDocument,
    MinimumPriceDocument,
    PackagePriceDocument,
    PercentPriceDocument,
    PricesDocument,
    SeatPriceDocument,
    TierDocument,
    UnitPriceDocument,
    VolumePriceDocument,
)
from weighbridge.rules.credits import MICRO, credit_meter
from weighbridge.rules.matching import Match
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    Counted,
    FeePercentagePrice,
    FlatPrice,
    MinimumPrice,
    PercentagePrice,
    Price,
    Proration,
    QuantityPrice,
)
from weighbridge.rules.rating.tiers import (
    NOTHING,
    Package,
    Rate,
    Tier,
    TierMode,
    TierTable,
    UnitRate,
)
from weighbridge.rules.window import Period

_NAMES: Final[dict[type[AnyPriceDocument], str]] = {
    FlatPriceDocument: "flat",
    SeatPriceDocument: "per_seat",
    MinimumPriceDocument: "minimum",
    CommitmentPriceDocument: "commitment",
}


def resolve_prices(document: CatalogDocument) -> dict[str, tuple[str, PricesDocument]]:
    """Return each plan's prices and the plan that writes them: itself, else the one it extends.

    `extends` has no cycle here.
    """
    resolved = {}
    for id_ in document.plans:
        writer = id_
        while document.plans[writer].prices is None:
            above = document.plans[writer].extends
            if above is None:
                break
            writer = above
        resolved[id_] = (writer, document.plans[writer].prices or {})
    return resolved


def proration_of(document: CatalogDocument, plan: str) -> Proration:
    """Return a plan's proration: its own, else that of the plan it extends, else by time."""
    written = document.plans[plan]
    while written.proration is None and written.extends is not None:
        written = document.plans[written.extends]
    return Proration(written.proration or "time")


def compile_prices(written: PricesDocument | None) -> tuple[Price, ...]:
    """Compile the prices of a plan or add-on, by currency: in what order is no matter."""
    return tuple(
        price
        for code, prices in sorted((written or {}).items())
        for price in compile_price_list(prices, currency_of(code))
    )


def compile_price_list(
    written: Sequence[AnyPriceDocument], currency: Currency
) -> tuple[Price, ...]:
    """Compile the prices in one currency."""
    return tuple(_price(each, price_key(each), currency) for each in written)


def price_key(written: AnyPriceDocument) -> str:
    """Return what a price is called: its id, else a name of what it charges for."""
    if written.id is not None:
        return written.id
    if isinstance(written, CreditPriceDocument):
        return f"credits[{written.credits}]"
    name = _NAMES.get(type(written), "")
    if isinstance(written, PercentPriceDocument) and written.of == "fees":
        name = "percent_of_fees"
    elif isinstance(written, CountedPriceDocument) and written.of == "seats":
        name = "per_seat"
    if name:
        return f"{name}[{written.feature}]" if written.feature else name
    pairs = ", ".join(f"{name}={value}" for name, value in match_of(written))
    return f"{written.feature}[{pairs}]" if pairs else f"{written.feature}"


def match_of(written: AnyPriceDocument) -> Match:
    """Return the dimensions that a price asks of usage, sorted; () for all usage, and for fees."""
    return tuple(sorted((getattr(written, "match", None) or {}).items()))


def _price(written: AnyPriceDocument, key: str, currency: Currency) -> Price:
    if isinstance(written, CreditPriceDocument):
        return _credit_price(written, key, currency)
    return _feature_price(written, key, currency)


def _credit_price(written: CreditPriceDocument, key: str, currency: Currency) -> QuantityPrice:
    return QuantityPrice(
        key=key,
        currency=currency,
        rate=UnitRate(written.per_unit, written.per * MICRO),
        feature=credit_meter(written.credits),
        every=Period(written.every),
    )


def _feature_price(written: FeaturePrice, key: str, currency: Currency) -> Price:
    every = Period(written.every)
    feature = written.feature or ""
    match written:
        case FlatPriceDocument():
            return FlatPrice(
                key=key, currency=currency, amount=written.flat, feature=feature, every=every
            )
        case SeatPriceDocument():
            return QuantityPrice(
                key=key,
                currency=currency,
                rate=UnitRate(written.per_seat),
                counted=Counted.SEATS,
                feature=feature,
                included=written.included,
                every=every,
            )
        case PercentPriceDocument():
            return _percentage(written, key, currency)
        case MinimumPriceDocument():
            return MinimumPrice(
                key=key, currency=currency, amount=written.minimum, feature=feature, every=every
            )
        case CommitmentPriceDocument():
            return CommitmentPrice(
                key=key, currency=currency, amount=written.commitment, feature=feature, every=every
            )
        case _:
            return _quantity(written, key, currency)


def _quantity(written: CountedPrice, key: str, currency: Currency) -> QuantityPrice:
    counted = Counted.USAGE if isinstance(written, UnitPriceDocument) else Counted(written.of)
    return QuantityPrice(
        key=key,
        currency=currency,
        rate=_rate(written),
        counted=counted,
        feature=written.feature or "",
        match=match_of(written),
        included=written.included,
        included_per_seat=written.included_per_seat,
        past_limit=written.past_limit or "",
        every=Period(written.every),
    )


def _rate(written: CountedPrice) -> Rate:
    match written:
        case UnitPriceDocument():
            return UnitRate(written.per_unit, written.per)
        case PackagePriceDocument():
            return Package(written.package, written.size)
        case GraduatedPriceDocument():
            return TierTable(TierMode.GRADUATED, _tiers(written.graduated), written.per)
        case VolumePriceDocument():
            return TierTable(TierMode.VOLUME, _tiers(written.volume), written.per)


def _tiers(written: Sequence[TierDocument]) -> tuple[Tier, ...]:
    return tuple(Tier(each.up_to, each.unit or NOTHING, each.flat or NOTHING) for each in written)


def _percentage(
    written: PercentPriceDocument, key: str, currency: Currency
) -> PercentagePrice | FeePercentagePrice:
    every = Period(written.every)
    if written.of == "fees":
        return FeePercentagePrice(key=key, currency=currency, percent=written.percent, every=every)
    assert written.feature is not None
    return PercentagePrice(
        key=key,
        currency=currency,
        percent=written.percent,
        feature=written.feature,
        match=match_of(written),
        flat=written.flat_per_transaction or NOTHING,
        cap=written.cap,
        every=every,
    )
