"""Line items that rest on other lines: usage that a commitment has paid for, and minimums.

They reckon with lines as rounded, in minor units, so that a minimum is met to the cent and a
commitment pays for as much usage as was charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from weighbridge.rules.rating.charge import LineItem, LineKind, LineOrigin, line_item
from weighbridge.rules.rating.fees import amount_line
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import Share
from weighbridge.rules.rating.prices import CommitmentPrice, MinimumPrice
from weighbridge.rules.rating.rounding import Quotient
from weighbridge.rules.rating.terms import Sold


def commitment_lines(sold: Iterable[Sold], share: Share) -> list[LineItem]:
    """Return what is paid in any case; commitments on a feature first, the others cover more."""
    lines = [
        amount_line(each, each.price, LineKind.COMMITMENT, share)
        for each in sold
        if isinstance(each.price, CommitmentPrice)
    ]
    return sorted(lines, key=_is_for_all)


def drawn_lines(
    commitments: Iterable[LineItem], usage: Sequence[LineItem], currency: Currency
) -> Iterator[LineItem]:
    """Take back the usage that commitments have paid for, no usage twice."""
    open_minor = [line.minor for line in usage]
    for commitment in commitments:
        left = commitment.minor
        for position, line in enumerate(usage):
            if _covers(commitment, line):
                drawn = min(left, open_minor[position])
                open_minor[position] -= drawn
                left -= drawn
        if left < commitment.minor:
            drawn_minor = commitment.minor - left
            yield _minor_line(commitment, LineKind.COMMITMENT_DRAWN, -drawn_minor, currency)


def shortfall_lines(
    sold: Iterable[Sold], lines: Iterable[LineItem], share: Share, currency: Currency
) -> list[LineItem]:
    """Return what is missing to each minimum: those on a feature first, the others include them."""
    minimums = [
        amount_line(each, each.price, LineKind.MINIMUM, share)
        for each in sold
        if isinstance(each.price, MinimumPrice)
    ]
    charged = list(lines)
    added = []
    for minimum in sorted(minimums, key=_is_for_all):
        reached = sum(line.minor for line in charged if _covers(minimum, line))
        if reached < minimum.minor:
            missing = _minor_line(minimum, LineKind.MINIMUM, minimum.minor - reached, currency)
            charged.append(missing)
            added.append(missing)
    return added


def _is_for_all(line: LineItem) -> bool:
    return not line.origin.feature


def _covers(guarantee: LineItem, line: LineItem) -> bool:
    return guarantee.origin.feature in ("", line.origin.feature)


def _minor_line(of: LineItem, kind: LineKind, minor: int, currency: Currency) -> LineItem:
    origin = LineOrigin(kind, of.origin.key, of.origin.add_on, of.origin.feature)
    return line_item(origin, 1, Quotient(currency.major(minor)), currency)
