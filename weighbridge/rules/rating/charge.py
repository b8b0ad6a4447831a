"""What rating results in: line items, and a charge that is exactly their sum."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

from weighbridge.rules.matching import Match
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.period import WHOLE, BillingPeriod, Share
from weighbridge.rules.rating.rounding import Quotient
from weighbridge.rules.rating.tiers import Segment
from weighbridge.rules.rating.usage import Usage


class LineKind(Enum):
    """What a line item charges for."""

    FLAT = "flat"
    SEATS = "seats"
    FEE_PERCENTAGE = "fee_percentage"
    COMMITMENT = "commitment"
    USAGE = "usage"
    PERCENTAGE = "percentage"
    COMMITMENT_DRAWN = "commitment_drawn"
    MINIMUM = "minimum"


FEES: Final = frozenset(
    {LineKind.FLAT, LineKind.SEATS, LineKind.FEE_PERCENTAGE, LineKind.COMMITMENT}
)
"""Known when a period begins, charged for the share of it that was served. All else is usage."""


@dataclass(frozen=True, slots=True)
class LineOrigin:
    """Where a line item comes from: the price's key, and the add-on it is of ("" for the plan)."""

    kind: LineKind
    key: str
    add_on: str = ""
    feature: str = ""
    match: Match = ()


@dataclass(frozen=True, slots=True)
class LineDetail:
    """What a line item is made of, for whoever checks it.

    `segments` are the tiers or packages of one piece in a whole period, their unit prices for each
    `per` units; `pieces` is how many of an add-on were bought. Of usage, `included` units cost
    nothing, because an allowance has them.
    """

    segments: tuple[Segment, ...] = ()
    per: int = 1
    pieces: int = 1
    share: Share = WHOLE
    included: int = 0


NO_DETAIL: Final = LineDetail()


@dataclass(frozen=True, slots=True)
class LineItem:
    """One line of a charge. `minor` is what is charged, in minor units of the currency.

    `amount`, in the currency itself, is exact; but where a division does not end (a share of time,
    a price per 3,600 units) it shows the first digits. `minor` is always rounded from the exact
    quotient. `quantity` counts what the price counts: seats, pieces, units of the feature, or for a
    percentage the minor units that it was taken of.
    """

    origin: LineOrigin
    quantity: int
    amount: Decimal
    minor: int
    detail: LineDetail = NO_DETAIL


def line_item(
    origin: LineOrigin,
    quantity: int,
    amount: Quotient,
    currency: Currency,
    detail: LineDetail = NO_DETAIL,
) -> LineItem:
    """Return the line item for an exact amount: here it is rounded."""
    return LineItem(origin, quantity, amount.shown(), amount.rounded(currency), detail)


@dataclass(frozen=True, slots=True)
class Charge:
    """The line items of one period, in one currency; None only where nothing has a price.

    `unmatched` is usage of features that have prices, but none for its dimensions: it is told,
    because it would otherwise be given away in silence.
    """

    period: BillingPeriod
    currency: Currency | None
    lines: tuple[LineItem, ...] = ()
    unmatched: tuple[Usage, ...] = ()

    @property
    def total_minor(self) -> int:
        """The sum of the lines as they are charged."""
        return sum(line.minor for line in self.lines)

    @property
    def total(self) -> Decimal:
        """The sum of the lines as they are charged, in the currency itself."""
        return Decimal(0) if self.currency is None else self.currency.major(self.total_minor)
