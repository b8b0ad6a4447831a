"""Watches and top-up orders ⇄ rows of their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from control_plane.crediting.rows import LedgerId, Price
from weighbridge.rules.credits import GrantEnd, GrantExpiry, MoneyRate, TopUp
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.top_up import OrderState, price_of

TermsJson = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Watch:
    """What is to happen when a ledger's balance falls: see `credit_watch`."""

    ledger: LedgerId
    notify_below: tuple[int, ...]
    top_up: TopUp | None
    told_micro: int | None = None
    open_order: str | None = None
    failures: int = 0
    not_before_ms: int = 0
    next_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TopUpOrder:
    """Credits asked for: `prices` are what the plan asks, in each of its currencies."""

    id: str
    ledger: LedgerId
    number: int
    state: OrderState
    amount: int
    terms: TopUp
    requested_at_ms: int
    ended_at_ms: int | None = None
    reason: str = ""
    payment_id: str | None = None
    price: Price | None = None
    grant: int | None = None
    attempts: int = 0

    @property
    def prices(self) -> tuple[Price, ...]:
        """What the plan asks for the credits, in each of its currencies."""
        return tuple(Price(*price_of(rate, self.amount)) for rate in self.terms.prices)


def top_up_to_json(top_up: TopUp) -> TermsJson:
    return {
        "threshold": top_up.threshold_micro,
        "target": top_up.target_micro,
        "cap": top_up.monthly_cap_micro,
        "prices": [
            [rate.currency.code, rate.currency.exponent, str(rate.amount), rate.per]
            for rate in top_up.prices
        ],
        "priority": top_up.priority,
        "end": top_up.expiry.end.value,
        "days": top_up.expiry.days,
    }


def top_up_from_json(credit_type: str, terms: Mapping[str, Any]) -> TopUp:
    return TopUp(
        credit_type=credit_type,
        threshold_micro=terms["threshold"],
        target_micro=terms["target"],
        monthly_cap_micro=terms["cap"],
        prices=tuple(
            MoneyRate(Currency(code, exponent), Decimal(amount), per)
            for code, exponent, amount, per in terms["prices"]
        ),
        priority=terms["priority"],
        expiry=GrantExpiry(GrantEnd(terms["end"]), terms["days"]),
    )


def watch_from_row(row: Row[Any]) -> Watch:
    return Watch(
        ledger=LedgerId(row.customer_id, row.credit_type),
        notify_below=tuple(row.notify_below),
        top_up=None if row.top_up is None else top_up_from_json(row.credit_type, row.top_up),
        told_micro=row.told_micro,
        open_order=row.open_order,
        failures=row.failures,
        not_before_ms=row.not_before_ms,
        next_at_ms=row.next_at_ms,
    )


def order_from_row(row: Row[Any]) -> TopUpOrder:
    return TopUpOrder(
        id=row.id,
        ledger=LedgerId(row.customer_id, row.credit_type),
        number=row.number,
        state=OrderState(row.state),
        amount=row.amount,
        terms=top_up_from_json(row.credit_type, row.terms),
        requested_at_ms=row.requested_at_ms,
        ended_at_ms=row.ended_at_ms,
        reason=row.reason,
        payment_id=row.payment_id,
        price=None if row.currency is None else Price(row.currency, row.price_minor),
        grant=row.grant_id,
        attempts=row.attempts,
    )
