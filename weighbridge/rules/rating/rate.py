"""Prices and usage in, charge out.

A price makes one line item: exact within the line, rounded once at its end. What rests on other
lines (a percentage of fees, a commitment, a minimum) rests on them as rounded; so a total is
exactly the sum of its lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.rules.rating.charge import Charge
from weighbridge.rules.rating.fees import fee_lines, fee_percentage_lines
from weighbridge.rules.rating.guarantees import commitment_lines, drawn_lines, shortfall_lines
from weighbridge.rules.rating.metered import usage_lines
from weighbridge.rules.rating.money import exact
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import Price
from weighbridge.rules.rating.terms import Terms, only_currency, sold
from weighbridge.rules.rating.usage import Usage


def rate(
    prices: Sequence[Price], usage: Sequence[Usage], quantity: int, period: BillingPeriod
) -> Charge:
    """Return what a plan costs in a period, with that usage and that quantity (its seats).

    Raises InvalidArgumentError: see `rate_terms`.
    """
    return rate_terms(Terms(tuple(prices), quantity), usage, period)


def rate_terms(terms: Terms, usage: Sequence[Usage], period: BillingPeriod) -> Charge:
    """Return what a subscription costs in a period. Only prices of the period's `every` count.

    Raises InvalidArgumentError where prices have several currencies, where two prices of one list
    fit the same usage equally well, where a `past_limit` was not replaced by a number, and where a
    percentage with a cap gets several transactions in one sum.
    """
    currency = only_currency(terms)
    if currency is None:
        return Charge(period, None)
    due = list(sold(terms, period.every))
    with exact():
        fees = list(fee_lines(due, terms.seats, period.share))
        fees += fee_percentage_lines(due, fees, currency)
        commitments = commitment_lines(due, period.share)
        used, unmatched = usage_lines(due, usage, terms.seats)
        lines = [*fees, *commitments, *used, *drawn_lines(commitments, used, currency)]
        lines += shortfall_lines(due, lines, period.share, currency)
    return Charge(period, currency, tuple(lines), unmatched)
