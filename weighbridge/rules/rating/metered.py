"""Line items of usage: by quantity, or as a percentage of an amount of money."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.charge import (
    LineDetail,
    LineItem,
    LineKind,
    LineOrigin,
    line_item,
)
from weighbridge.rules.rating.money import require_count
from weighbridge.rules.rating.prices import PercentagePrice, QuantityPrice, UsagePrice, usage_price
from weighbridge.rules.rating.rounding import Quotient
from weighbridge.rules.rating.terms import Sold
from weighbridge.rules.rating.tiers import total
from weighbridge.rules.rating.usage import Usage, assign
from weighbridge.rules.units import COUNTER_MAX


def usage_lines(
    sold: Iterable[Sold], usage: Sequence[Usage], seats: int
) -> tuple[list[LineItem], tuple[Usage, ...]]:
    """Return a line for each price that has usage, and the usage that no price is for.

    Usage goes to the price with the most matching dimensions; of several, to the one of the add-on
    bought first, so that an add-on can replace a price of the plan.
    """
    charging: list[tuple[Sold, UsagePrice]] = []
    for each in sold:
        price = usage_price(each.price)
        if price is not None:
            charging.append((each, price))
    order = sorted(range(len(charging)), key=lambda at: not charging[at][0].add_on)
    assigned = assign([charging[at][1] for at in order], usage)
    own = {order[position]: used for position, used in assigned.by_price.items()}
    lines = [_usage_line(*charging[at], own[at], seats) for at in sorted(own)]
    return lines, assigned.unmatched


def _usage_line(sold: Sold, price: UsagePrice, usage: Sequence[Usage], seats: int) -> LineItem:
    if isinstance(price, PercentagePrice):
        return _percentage_line(sold, price, usage)
    return _quantity_line(sold, price, usage, seats)


def _quantity_line(
    sold: Sold, price: QuantityPrice, usage: Sequence[Usage], seats: int
) -> LineItem:
    carried = sum(each.carried for each in usage)
    quantity = sum(each.quantity for each in usage)
    require_count(price.key, carried + quantity, 0, COUNTER_MAX)
    # The allowance comes first, so that tiers and packages count what is beyond it.
    free = price.allowance(seats, sold.pieces)
    before = max(0, carried - free)
    charged = max(0, carried + quantity - free) - before
    segments = price.rate.segments(before, charged)
    per = price.rate.per
    return line_item(
        LineOrigin(LineKind.USAGE, price.key, sold.add_on, price.feature, price.match),
        quantity,
        Quotient(total(segments, per), per),
        price.currency,
        LineDetail(segments, per, sold.pieces, included=quantity - charged),
    )


def _percentage_line(sold: Sold, price: PercentagePrice, usage: Iterable[Usage]) -> LineItem:
    quantity = 0
    hundredfold = Decimal(0)
    for each in usage:
        quantity += each.quantity
        hundredfold += _hundredfold_due(price, each)
    return line_item(
        LineOrigin(LineKind.PERCENTAGE, price.key, sold.add_on, price.feature, price.match),
        quantity,
        Quotient(hundredfold, 100),
        price.currency,
    )


def _hundredfold_due(price: PercentagePrice, usage: Usage) -> Decimal:
    """Return a hundred times what is due, so that nothing is divided yet."""
    base = price.currency.major(usage.quantity)
    due = base * price.percent + price.flat * usage.transactions * 100
    if price.cap is None:
        return due
    if usage.transactions > 1:
        problem = f"{usage.transactions} in one sum; a cap needs each transaction by itself"
        raise InvalidArgumentError("transactions", problem)
    return min(due, price.cap * 100)
