"""Credits: their types, what usage costs of them, and what grants of them a plan comes with.

Amounts are integers of micro-credits, 10^-6 of a credit. A cost is in micro-credits for a million
units of usage, so that a price list by the million tokens is exact. Costs of one receipt are summed
exactly and rounded once, up to the next micro-credit: what is used is never free by rounding, and
never a whole micro-credit dearer than it is. What was charged is never rounded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum
from typing import Final, NamedTuple

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.matching import Match, most_specific, require_match
from weighbridge.rules.rating.money import Currency, exact, require_count, require_price
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.units import COUNTER_MAX
from weighbridge.rules.window import Window

MICRO: Final = 1_000_000
"""Micro-credits of a credit; also the units of usage that a cost is for."""

PLACES_MAX: Final = 6
CREDITS_MAX: Final = 10**12
MICRO_MAX: Final = CREDITS_MAX * MICRO
"""The largest amount of one grant, and the largest cost of a million units."""

PRIORITY_MAX: Final = 1_000
PRIORITY_DEFAULT: Final = 100
DAYS_MAX: Final = 3_660

CREDIT_METER: Final = "credits "
"""What the prices of credits past the balance are of, before the type. No feature has a blank."""


@dataclass(frozen=True, slots=True)
class CreditCost:
    """What usage of a feature costs: `micro` micro-credits for each million units."""

    feature: str
    micro: int
    match: Match = ()

    def __post_init__(self) -> None:
        require_count("cost", self.micro, 0, MICRO_MAX)
        require_match(self.match)


@dataclass(frozen=True, slots=True)
class MoneyRate:
    """What `per` credits cost, or are worth, in a currency."""

    currency: Currency
    amount: Decimal
    per: int = 1

    def __post_init__(self) -> None:
        require_price("amount", self.amount)
        require_count("per", self.per, 1, MICRO)


@dataclass(frozen=True, slots=True)
class CreditType:
    """A kind of credit. `decimals` are those that people are shown.

    `costs` are by feature; `worth` says what one credit is worth, in each currency given;
    `notify_below_micro` are balances that others are told of.
    """

    id: str
    name: str = ""
    unit: str = "credit"
    decimals: int = 2
    worth: tuple[MoneyRate, ...] = ()
    costs: Mapping[str, tuple[CreditCost, ...]] = field(default_factory=dict)
    notify_below_micro: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_count("decimals", self.decimals, 0, PLACES_MAX)

    def cost(self, feature: str, dimensions: Match = ()) -> CreditCost | None:
        """Return the cost that is meant: of those that fit, the one with the most dimensions."""
        costs = self.costs.get(feature, ())
        position = most_specific([cost.match for cost in costs], dimensions)
        return None if position is None else costs[position]


class Tariff(NamedTuple):
    """What usage costs, `micro` micro-credits for each million units, and who pays it.

    Not `is_hard`: it goes on past the balance.
    """

    payer: str
    credit_type: str
    micro: int
    is_hard: bool = True

    def charge(self, units: int) -> int:
        """Return what so many units cost, in micro-credits: rounded up. What is given back: 0."""
        return max(-(-self.micro * units // MICRO), 0)

    def covered(self, micro: int) -> int:
        """Return how many units so many micro-credits pay for."""
        return micro * MICRO // self.micro if self.micro else COUNTER_MAX


class Used(NamedTuple):
    """Usage of a feature, as a receipt has it."""

    feature: str
    amount: int
    dimensions: Match = ()


def credit_cost(credit_type: CreditType, receipt: Iterable[Used]) -> int:
    """Return what a receipt costs, in micro-credits: summed exactly, rounded once, up.

    Raises InvalidArgumentError where a part of it has no cost: it would be given away in silence.
    """
    millionths = 0
    for part in receipt:
        require_count("amount", part.amount, 0, COUNTER_MAX)
        cost = credit_type.cost(part.feature, part.dimensions)
        if cost is None:
            having = ", ".join(f"{name}={value}" for name, value in part.dimensions)
            with_what = f" with {having}" if having else ""
            problem = f"{part.feature!r}{with_what} has no cost in {credit_type.id!r}"
            raise InvalidArgumentError("dimensions", problem)
        millionths += cost.micro * part.amount
    return require_count("credits", -(-millionths // MICRO), 0, COUNTER_MAX)


class GrantKind(Enum):
    """Why credits are there. Manual ones are granted to one customer, by no catalog."""

    RECURRING = "recurring"
    PREPAID = "prepaid"
    PROMOTIONAL = "promotional"
    TRIAL = "trial"
    MANUAL = "manual"


class GrantEnd(Enum):
    """When what is left of a grant expires."""

    NEVER = "never"
    PERIOD_END = "period_end"
    TRIAL_END = "trial_end"
    AFTER_DAYS = "after_days"


@dataclass(frozen=True, slots=True)
class GrantExpiry:
    """When what is left of a grant expires. `days` of 24 hours after it took effect."""

    end: GrantEnd = GrantEnd.NEVER
    days: int = 0

    def __post_init__(self) -> None:
        least = 1 if self.end is GrantEnd.AFTER_DAYS else 0
        require_count("after_days", self.days, least, DAYS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditGrant:
    """Credits that a plan or an add-on comes with.

    `every` is the window at whose start they are granted again, the whole amount also in the one
    that the subscription begins in; None: once, when the subscription or the add-on starts. They
    take effect `starts_after_days` later. Lower `priority` is spent first. When a period ends, at
    most `rollover_micro` of what is left of them all stays (None: as `expiry` says).
    """

    id: str
    credit_type: str
    micro: int
    kind: GrantKind
    every: Window | None = None
    per_seat: bool = False
    priority: int = PRIORITY_DEFAULT
    starts_after_days: int = 0
    expiry: GrantExpiry = GrantExpiry()
    rollover_micro: int | None = None

    def __post_init__(self) -> None:
        require_count("amount", self.micro, 0, COUNTER_MAX)
        if self.rollover_micro is not None:
            require_count("rollover_max", self.rollover_micro, 0, COUNTER_MAX)
        require_count("priority", self.priority, 0, PRIORITY_MAX)
        require_count("starts_after_days", self.starts_after_days, 0, DAYS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """Credits bought by themselves when less than `threshold_micro` are available.

    So many are bought that `target_micro` are, at most `monthly_cap_micro` (None: any) in a
    calendar month in UTC. They are a prepaid grant.
    """

    credit_type: str
    threshold_micro: int
    target_micro: int
    monthly_cap_micro: int | None = None
    prices: tuple[MoneyRate, ...] = ()
    priority: int = PRIORITY_DEFAULT
    expiry: GrantExpiry = GrantExpiry()

    def __post_init__(self) -> None:
        require_count("threshold", self.threshold_micro, 0, MICRO_MAX)
        require_count("target", self.target_micro, self.threshold_micro + 1, MICRO_MAX)
        if self.monthly_cap_micro is not None:
            require_count("monthly_cap", self.monthly_cap_micro, 1, MICRO_MAX)
        require_count("priority", self.priority, 0, PRIORITY_MAX)


def grants_bought(
    plan: Iterable[CreditGrant], add_ons: Iterable[tuple[Iterable[CreditGrant], int]], seats: int
) -> tuple[CreditGrant, ...]:
    """Return what a subscription is granted: by its plan, then by add-ons, as often as bought.

    Grants per seat count for each seat. Nothing is merged: a grant keeps its id, expiry and order.
    """
    own = [_times(grant, seats if grant.per_seat else 1) for grant in plan]
    added = [_times(grant, pieces) for grants, pieces in add_ons for grant in grants]
    return (*own, *added)


def _times(grant: CreditGrant, count: int) -> CreditGrant:
    kept = grant.rollover_micro
    return replace(
        grant,
        micro=min(grant.micro * count, COUNTER_MAX),
        rollover_micro=None if kept is None else min(kept * count, COUNTER_MAX),
        per_seat=False,
    )


def micro_of(credits_: Decimal) -> int | None:
    """Return an amount of credits in micro-credits; None where it is finer than one."""
    with exact():
        micro = credits_ * MICRO
    return int(micro) if micro == int(micro) else None


def credits_of(micro: int) -> Decimal:
    """Return micro-credits as credits; always exact."""
    with exact():
        return Decimal(micro).scaleb(-PLACES_MAX)


def credit_meter(credit_type: str) -> str:
    """Return what prices of credits past the balance are of, instead of a feature."""
    return CREDIT_METER + credit_type


def overage_usage(credit_type: str, micro: int) -> Usage:
    """Return credits that were used past the balance, as usage to be rated."""
    return Usage(credit_meter(credit_type), micro)
