"""Line items that do not depend on usage: flat prices, seats, percentages of those."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weighbridge.rules.rating.charge import (
    LineDetail,
    LineItem,
    LineKind,
    LineOrigin,
    line_item,
)
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import Share
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    Counted,
    FeePercentagePrice,
    FlatPrice,
    MinimumPrice,
    QuantityPrice,
)
from weighbridge.rules.rating.rounding import Quotient
from weighbridge.rules.rating.terms import Sold
from weighbridge.rules.rating.tiers import total

AmountPrice = FlatPrice | CommitmentPrice | MinimumPrice


def amount_line(sold: Sold, price: AmountPrice, kind: LineKind, share: Share) -> LineItem:
    """Return the line of a price that is an amount: times its pieces, for a share of the period."""
    detail = LineDetail(pieces=sold.pieces, share=share)
    origin = LineOrigin(kind, price.key, sold.add_on, price.feature)
    quotient = Quotient(price.amount * sold.pieces * share.part_ms, share.whole_ms)
    return line_item(origin, sold.pieces, quotient, price.currency, detail)


def fee_lines(sold: Iterable[Sold], seats: int, share: Share) -> Iterator[LineItem]:
    """Return flat fees and fees per seat."""
    for each in sold:
        if isinstance(each.price, FlatPrice):
            yield amount_line(each, each.price, LineKind.FLAT, share)
        elif isinstance(each.price, QuantityPrice) and each.price.counted is Counted.SEATS:
            yield _seats_line(each, each.price, seats, share)


def _seats_line(sold: Sold, price: QuantityPrice, seats: int, share: Share) -> LineItem:
    segments = price.rate.segments(0, max(0, seats - price.allowance(seats, 1)))
    per = price.rate.per
    amount = total(segments, per) * sold.pieces * share.part_ms
    return line_item(
        LineOrigin(LineKind.SEATS, price.key, sold.add_on, price.feature),
        seats,
        Quotient(amount, per * share.whole_ms),
        price.currency,
        LineDetail(segments, per, sold.pieces, share),
    )


def fee_percentage_lines(
    sold: Iterable[Sold], fees: Iterable[LineItem], currency: Currency
) -> Iterator[LineItem]:
    """Return percentages of the plan's fees as charged, so of their share of the period."""
    base_minor = sum(line.minor for line in fees if not line.origin.add_on)
    base = currency.major(base_minor)
    for price, add_on, pieces in sold:
        if isinstance(price, FeePercentagePrice):
            yield line_item(
                LineOrigin(LineKind.FEE_PERCENTAGE, price.key, add_on),
                base_minor,
                Quotient(base * price.percent * pieces, 100),
                currency,
                LineDetail(pieces=pieces),
            )
