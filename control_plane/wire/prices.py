"""Prices of plans and add-ons, as sidecars get them."""

from __future__ import annotations

from decimal import Decimal

from control_plane.wire.enums import PERIODS
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    Counted,
    FeePercentagePrice,
    FlatPrice,
    MinimumPrice,
    PercentagePrice,
    Price,
    QuantityPrice,
)
from weighbridge.rules.rating.tiers import Package, Rate, Tier, TierMode, UnitRate
from weighbridge.v1 import sync_service_pb2 as pb


def currency_to_proto(currency: Currency) -> pb.Currency:
    """Return the currency."""
    return pb.Currency(code=currency.code, exponent=currency.exponent)


def price_to_proto(price: Price) -> pb.Price:
    """Return the price."""
    message = pb.Price(
        key=price.key, currency=currency_to_proto(price.currency), every=PERIODS[price.every]
    )
    match price:
        case FlatPrice():
            message.feature = price.feature
            message.flat = _text(price.amount)
        case QuantityPrice():
            message.feature = price.feature
            message.match.update(price.match)
            message.quantity.CopyFrom(_quantity_to_proto(price))
        case PercentagePrice():
            message.feature = price.feature
            message.match.update(price.match)
            message.percentage.CopyFrom(_percentage_to_proto(price))
        case FeePercentagePrice():
            message.fee_percent = _text(price.percent)
        case MinimumPrice():
            message.feature = price.feature
            message.minimum = _text(price.amount)
        case CommitmentPrice():
            message.feature = price.feature
            message.commitment = _text(price.amount)
    return message


def _quantity_to_proto(price: QuantityPrice) -> pb.QuantityPrice:
    return pb.QuantityPrice(
        rate=_rate_to_proto(price.rate),
        is_of_seats=price.counted is Counted.SEATS,
        included=price.included,
        included_per_seat=price.included_per_seat,
        past_limit=price.past_limit,
    )


def _percentage_to_proto(price: PercentagePrice) -> pb.PercentagePrice:
    cap = None if price.cap is None else _text(price.cap)
    return pb.PercentagePrice(percent=_text(price.percent), flat=_text(price.flat), cap=cap)


def _rate_to_proto(rate: Rate) -> pb.PriceRate:
    if isinstance(rate, UnitRate):
        return pb.PriceRate(unit=_text(rate.amount), per=rate.per)
    if isinstance(rate, Package):
        return pb.PriceRate(package=_text(rate.amount), size=rate.size)
    tiers = pb.PriceTiers(tiers=map(_tier_to_proto, rate.tiers))
    if rate.mode is TierMode.GRADUATED:
        return pb.PriceRate(graduated=tiers, per=rate.per)
    return pb.PriceRate(volume=tiers, per=rate.per)


def _tier_to_proto(tier: Tier) -> pb.PriceTier:
    return pb.PriceTier(up_to=tier.up_to, unit=_text(tier.unit), flat=_text(tier.flat))


def _text(amount: Decimal) -> str:
    return f"{amount:f}"
