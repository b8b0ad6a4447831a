"""What usage would cost: the question, its answer, and the call both clients make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from weighbridge.client import wire
from weighbridge.client.calls import Call
from weighbridge.client.values import Decision
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.spend import money_of
from weighbridge.rules.units import require_amount, require_id, require_optional_id
from weighbridge.v1 import sidecar_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class QuoteItem:
    """Usage to be quoted."""

    feature: str
    amount: int
    dimensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyHold:
    """Money that a spend limit, of the feature named, has to have left for the work."""

    feature: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditAmount:
    """Credits of one type."""

    credit_type: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedItem:
    """One item, decided by itself; the most that reserving it would hold."""

    decision: Decision
    amount: int
    hold_money: tuple[MoneyHold, ...]
    hold_credits: CreditAmount | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedLine:
    """What all items that go to one price come to, after `used_before` units of the period.

    `cost` is exact, in the currency itself; `cost_minor` is rounded. Where `is_used_assumed`, what
    was used before is not known to the sidecar, and taken as 0.
    """

    price: str
    add_on: str | None
    feature: str
    match: Mapping[str, str]
    amount: int
    included_amount: int
    charged_amount: int
    cost: Decimal
    cost_minor: int
    used_before: int
    is_used_assumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What usage would cost, and whether it would pass now; true where each item would.

    `total` is the sum of the lines as they are rounded; None: nothing of the plan has a price.
    """

    items: tuple[QuotedItem, ...]
    lines: tuple[QuotedLine, ...]
    currency: str | None
    total: Decimal | None
    credits: tuple[CreditAmount, ...]
    unmatched_features: tuple[str, ...]
    plan: str | None
    plan_version: int

    def __bool__(self) -> bool:
        return all(item.decision.allowed for item in self.items)


def quote(
    customer: str, items: Sequence[QuoteItem], resource: str, currency: str, timeout_s: float | None
) -> Call[Quote]:
    """Build a Quote. It has no fallback: prices cannot be invented."""
    request = pb.QuoteRequest(
        customer=require_id("customer", customer),
        resource=require_optional_id("resource", resource),
        currency=currency,
        items=[
            pb.QuoteItem(
                feature=require_id("feature", item.feature),
                amount=require_amount("amount", item.amount),
                dimensions=item.dimensions,
            )
            for item in items
        ],
    )
    return Call(method="Quote", request=request, answer=_quote_from_proto, timeout_s=timeout_s)


def _quote_from_proto(message: pb.QuoteResponse) -> Quote:
    return Quote(
        items=tuple(map(_item_from_proto, message.items)),
        lines=tuple(map(_line_from_proto, message.lines)),
        currency=message.currency or None,
        total=Decimal(message.total) if message.currency else None,
        credits=tuple(map(_credits_from_proto, message.credits)),
        unmatched_features=tuple(message.unmatched_features),
        plan=message.plan or None,
        plan_version=message.plan_version,
    )


def _item_from_proto(message: pb.QuotedItem) -> QuotedItem:
    has_credits = message.HasField("hold_credits")
    return QuotedItem(
        decision=wire.decision_from_proto(message.decision),
        amount=message.amount,
        hold_money=tuple(map(_money_from_proto, message.hold_money)),
        hold_credits=_credits_from_proto(message.hold_credits) if has_credits else None,
    )


def _money_from_proto(message: pb.MoneyHold) -> MoneyHold:
    amount = money_of(message.micros, Currency(message.currency, message.exponent))
    return MoneyHold(feature=message.feature, currency=message.currency, amount=amount)


def _credits_from_proto(message: Any) -> CreditAmount:
    return CreditAmount(
        credit_type=message.credit_type, amount=Decimal(message.micro).scaleb(-6).normalize()
    )


def _line_from_proto(message: pb.QuotedLine) -> QuotedLine:
    return QuotedLine(
        price=message.price,
        add_on=message.add_on or None,
        feature=message.feature,
        match=dict(message.match),
        amount=message.amount,
        included_amount=message.included_amount,
        charged_amount=message.charged_amount,
        cost=Decimal(message.cost),
        cost_minor=message.cost_minor,
        used_before=message.used_before,
        is_used_assumed=message.is_used_assumed,
    )
