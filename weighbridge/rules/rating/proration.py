"""A change of plan, seats or add-ons within a period: what it costs at once.

Fees are known when a period begins and paid for all of it, so a change gives back and charges:

- TIME: the fees of the old terms for the rest of the period are credited, those of the new terms
  for the same rest are charged. The share is milliseconds of the rest over milliseconds of the
  period, as the period really is (28 to 31 days for a month). Each fee is one line, rounded once.
- DIFFERENCE: all of the old fees are credited and all of the new ones charged, whenever in the
  period that is: the customer pays the difference in price.
- NONE: nothing is due before the next period.

Flat prices, seats, percentages of fees and commitments are fees. Usage is never prorated, and so
are neither allowances nor tiers: usage before the change is charged at the old prices, usage after
it at the new ones, whose allowances and tiers begin with what was used before (`Usage.carried`). A
minimum is reckoned when the period ends, for the part of it that its plan was held.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.charge import FEES, Charge, LineItem
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.prices import Proration
from weighbridge.rules.rating.rate import rate_terms
from weighbridge.rules.rating.terms import Terms, only_currency


@dataclass(frozen=True, slots=True)
class ChangeOfTerms:
    """What a change costs at once: a credit (its lines are negative) and a charge."""

    credit: Charge
    charge: Charge

    @property
    def total_minor(self) -> int:
        """What is due, in minor units; negative where the customer gets money back."""
        return self.credit.total_minor + self.charge.total_minor


def change_terms(
    old: Terms, new: Terms, period: BillingPeriod, at_ms: int, proration: Proration
) -> ChangeOfTerms:
    """Return what changing from old to new terms at an instant within the period costs at once.

    Raises InvalidArgumentError where the instant is not in the part of the period that is charged
    for, and where the two have different currencies.
    """
    if not period.served_from_ms <= at_ms < period.served_until_ms:
        served = f"{period.served_from_ms} until before {period.served_until_ms}"
        raise InvalidArgumentError("at_ms", f"{at_ms} is not within {served}")
    before, after = only_currency(old), only_currency(new)
    if before is not None and after is not None and before != after:
        problem = f"are in {before.code} and {after.code}; a change keeps the currency"
        raise InvalidArgumentError("prices", problem)
    rest = period if proration is Proration.DIFFERENCE else replace(period, from_ms=at_ms)
    is_due = proration is not Proration.NONE
    paid, due = (rate_terms(terms, (), rest) for terms in (old, new))
    return ChangeOfTerms(
        replace(
            paid, lines=tuple(_credit(line) for line in paid.lines if is_due and _is_fee(line))
        ),
        replace(due, lines=tuple(line for line in due.lines if is_due and _is_fee(line))),
    )


def _is_fee(line: LineItem) -> bool:
    return line.origin.kind in FEES


def _credit(line: LineItem) -> LineItem:
    return replace(line, amount=-line.amount, minor=-line.minor)
