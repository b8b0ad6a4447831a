"""Prices of plans and add-ons, as the control plane sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sidecar.wire.known import decimal_of, known
from weighbridge.rules.errors import InvalidArgumentError
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
from weighbridge.rules.rating.tiers import Package, Rate, Tier, TierMode, TierTable, UnitRate
from weighbridge.rules.window import Period
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

PERIODS: Final[Mapping[int, Period]] = {
    pb.WINDOW_PERIOD_HOUR: Period.HOUR,
    pb.WINDOW_PERIOD_DAY: Period.DAY,
    pb.WINDOW_PERIOD_WEEK: Period.WEEK,
    pb.WINDOW_PERIOD_MONTH: Period.MONTH,
    pb.WINDOW_PERIOD_YEAR: Period.YEAR,
}


def currency_from_proto(message: sync_pb.Currency) -> Currency:
    """Return the currency."""
    return Currency(message.code, message.exponent)


def prices_from_proto(messages: Iterable[sync_pb.Price]) -> tuple[Price, ...]:
    """Return the prices. Raises InvalidArgumentError where one cannot be understood."""
    return tuple(map(_price_from_proto, messages))


def _price_from_proto(message: sync_pb.Price) -> Price:
    kind = message.WhichOneof("price")
    read = _READERS.get(kind or "")
    if read is None:
        raise InvalidArgumentError("prices", f"{message.key!r} is of no known kind")
    return read(
        message,
        currency_from_proto(message.currency),
        known(PERIODS, message.every, "prices.every"),
    )


def _flat(message: sync_pb.Price, currency: Currency, every: Period) -> Price:
    return FlatPrice(
        key=message.key,
        currency=currency,
        amount=decimal_of(message.flat, "prices.flat"),
        feature=message.feature,
        every=every,
    )


def _quantity(message: sync_pb.Price, currency: Currency, every: Period) -> Price:
    quantity = message.quantity
    return QuantityPrice(
        key=message.key,
        currency=currency,
        rate=_rate_from_proto(quantity.rate),
        counted=Counted.SEATS if quantity.is_of_seats else Counted.USAGE,
        feature=message.feature,
        match=tuple(sorted(message.match.items())),
        included=quantity.included,
        included_per_seat=quantity.included_per_seat,
        past_limit=quantity.past_limit,
        every=every,
    )


def _percentage(message: sync_pb.Price, currency: Currency, every: Period) -> Price:
    percentage = message.percentage
    cap = percentage.cap if percentage.HasField("cap") else None
    return PercentagePrice(
        key=message.key,
        currency=currency,
        percent=decimal_of(percentage.percent, "prices.percent"),
        feature=message.feature,
        match=tuple(sorted(message.match.items())),
        flat=decimal_of(percentage.flat, "prices.flat"),
        cap=None if cap is None else decimal_of(cap, "prices.cap"),
        every=every,
    )


def _fee_percentage(message: sync_pb.Price, currency: Currency, every: Period) -> Price:
    return FeePercentagePrice(
        key=message.key,
        currency=currency,
        percent=decimal_of(message.fee_percent, "prices.fee_percent"),
        every=every,
    )


def _minimum(message: sync_pb.Price, currency: Currency, every: Period) -> Price:
    return MinimumPrice(
        key=message.key,
        currency=currency,
        amount=decimal_of(message.minimum, "prices.minimum"),
        feature=message.feature,
        every=every,
    )


def _commitment(message: sync_pb.Price, currency: Currency, every: Period) -> Price:
    return CommitmentPrice(
        key=message.key,
        currency=currency,
        amount=decimal_of(message.commitment, "prices.commitment"),
        feature=message.feature,
        every=every,
    )


_READERS: Final[Mapping[str, Callable[[sync_pb.Price, Currency, Period], Price]]] = {
    "flat": _flat,
    "quantity": _quantity,
    "percentage": _percentage,
    "fee_percent": _fee_percentage,
    "minimum": _minimum,
    "commitment": _commitment,
}


def _rate_from_proto(message: sync_pb.PriceRate) -> Rate:
    match message.WhichOneof("rate"):
        case "unit":
            return UnitRate(decimal_of(message.unit, "prices.unit"), message.per)
        case "package":
            return Package(decimal_of(message.package, "prices.package"), message.size)
        case "graduated":
            tiers = _tiers_from_proto(message.graduated)
            return TierTable(TierMode.GRADUATED, tiers, message.per)
        case "volume":
            return TierTable(TierMode.VOLUME, _tiers_from_proto(message.volume), message.per)
        case _:
            raise InvalidArgumentError("prices.rate", "is of no known kind")


def _tiers_from_proto(message: sync_pb.PriceTiers) -> tuple[Tier, ...]:
    return tuple(
        Tier(
            tier.up_to if tier.HasField("up_to") else None,
            decimal_of(tier.unit, "prices.tiers.unit"),
            decimal_of(tier.flat, "prices.tiers.flat"),
        )
        for tier in message.tiers
    )
