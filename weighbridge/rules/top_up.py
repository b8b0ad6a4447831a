"""Top-up rules: when credits are bought, how many, at what price, and what becomes of an order.

    requested ──▶ paid
        │  ╲────▶ failed ──▶ paid
        ╰───────▶ expired ─▶ paid

An order that failed or expired becomes paid where a payment for it is confirmed after all: money
that was taken is never without its credits. What is paid stays so.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import Enum
from typing import Final, NamedTuple

from weighbridge.rules.credits import MoneyRate, TopUp, credits_of
from weighbridge.rules.errors import ConflictError, FailedPreconditionError
from weighbridge.rules.rating.money import exact
from weighbridge.rules.window import Period, Window, WindowBounds, WindowKind, window_bounds

RETRY_MS_MIN: Final = 15 * 60_000
RETRY_MS_MAX: Final = 24 * 3_600_000
_DOUBLINGS_MAX: Final = 16
_MONTH: Final = Window(WindowKind.CALENDAR, Period.MONTH)


class OrderState(Enum):
    """What became of an order."""

    REQUESTED = "requested"
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"


class Provider(Enum):
    """Who is asked to have orders paid: webhook endpoints, one HTTP provider, or nobody."""

    WEBHOOK = "webhook"
    HTTP = "http"
    NONE = "none"


class Answered(NamedTuple):
    """What an order is after an answer, and whether that answer was given before."""

    state: OrderState
    is_repeated: bool = False


class Money(NamedTuple):
    """An amount in a currency's minor unit."""

    currency: str
    minor: int


def month_of(at_ms: int) -> WindowBounds:
    """Return the calendar month (UTC) of an instant: what a monthly cap is for."""
    return window_bounds(_MONTH, at_ms, 0)


def is_low(top_up: TopUp, unspent_micro: int) -> bool:
    """Whether so few credits are left that more are bought: also where none is, whatever else."""
    return unspent_micro < max(top_up.threshold_micro, 1)


def micro_to_buy(top_up: TopUp, unspent_micro: int, ordered_micro: int) -> int:
    """Return how many to buy: up to the target, and no more than the month's cap leaves.

    `ordered_micro` were ordered in this month. 0: none, before the next month.
    """
    wanted = top_up.target_micro - unspent_micro
    if top_up.monthly_cap_micro is not None:
        wanted = min(wanted, top_up.monthly_cap_micro - ordered_micro)
    return max(wanted, 0)


def price_of(rate: MoneyRate, micro: int) -> Money:
    """Return what credits cost at a rate: exact, rounded once, up to the next minor unit."""
    with exact():
        cost = credits_of(micro) * rate.amount
        minor, rest = divmod(cost.scaleb(rate.currency.exponent), Decimal(rate.per))
    return Money(rate.currency.code, int(minor) + (1 if rest else 0))


def retry_ms(failures: int) -> int:
    """Return how long no order is made after so many failed ones in a row."""
    doubled = RETRY_MS_MIN << min(max(failures - 1, 0), _DOUBLINGS_MAX)
    return min(doubled, RETRY_MS_MAX)


def paid(state: OrderState, payment_id: str, paid_with: str | None) -> Answered:
    """Take in that an order is paid. Raises ConflictError where another payment did that."""
    if state is not OrderState.PAID:
        return Answered(OrderState.PAID)
    if payment_id == paid_with:
        return Answered(OrderState.PAID, is_repeated=True)
    raise ConflictError(
        f"payment_id: the order is paid already, by payment {paid_with!r}; give the other one back"
    )


def failed(state: OrderState) -> Answered:
    """Take in that an order is not paid. Raises FailedPreconditionError where it is."""
    if state is OrderState.REQUESTED:
        return Answered(OrderState.FAILED)
    if state is OrderState.PAID:
        raise FailedPreconditionError("the order is paid; refund its grant instead")
    return Answered(state, is_repeated=True)


def lowest_reached(thresholds: Iterable[int], unspent_micro: int) -> int | None:
    """Return the lowest threshold that a balance is at or below; None: it is above all."""
    return min((each for each in thresholds if unspent_micro <= each), default=None)
