"""Quotes: protobuf to values and back."""

from __future__ import annotations

from typing import Final

from sidecar.core.quoting import Asked, CreditAmount, Item, Quoted, QuotedItem, QuotedLine
from sidecar.wire.decision import fill_decision, period_to_proto
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import plain
from weighbridge.rules.units import (
    DIMENSION_VALUE_LENGTH_MAX,
    DIMENSIONS_MAX,
    require_amount,
    require_id,
    require_optional_id,
    require_text,
)
from weighbridge.v1 import sidecar_service_pb2 as pb

ITEMS_MAX: Final = 100


def asked_from_proto(message: pb.QuoteRequest) -> Asked:
    """Return the question. Raises InvalidArgumentError naming the field that is wrong."""
    if not 1 <= len(message.items) <= ITEMS_MAX:
        problem = f"{len(message.items)} of them; a quote is for 1 to {ITEMS_MAX}"
        raise InvalidArgumentError("items", problem)
    items = tuple(
        _item_from_proto(f"items[{number}]", item) for number, item in enumerate(message.items)
    )
    customer = require_id("customer", message.customer)
    resource = require_optional_id("resource", message.resource)
    return Asked(customer, resource, items, message.currency)


def _item_from_proto(field: str, message: pb.QuoteItem) -> Item:
    if len(message.dimensions) > DIMENSIONS_MAX:
        problem = f"{len(message.dimensions)} of them; at most {DIMENSIONS_MAX}"
        raise InvalidArgumentError(f"{field}.dimensions", problem)
    for name, value in message.dimensions.items():
        require_id(f"{field}.dimensions", name)
        require_text(f"{field}.dimensions[{name}]", value, DIMENSION_VALUE_LENGTH_MAX)
    return Item(
        require_id(f"{field}.feature", message.feature),
        require_amount(f"{field}.amount", message.amount),
        tuple(sorted(message.dimensions.items())),
    )


def quote_to_proto(quoted: Quoted) -> pb.QuoteResponse:
    """Return the quote."""
    response = pb.QuoteResponse(
        lines=map(_line_to_proto, quoted.lines),
        credits=map(_credits_to_proto, quoted.credits),
        unmatched_features=quoted.unmatched,
        plan=quoted.plan,
        plan_version=quoted.plan_version,
    )
    for item in quoted.items:
        _fill_item(response.items.add(), item)
    if quoted.currency is not None:
        total_minor = sum(line.item.minor for line in quoted.lines)
        response.currency = quoted.currency.code
        response.exponent = quoted.currency.exponent
        response.total_minor = total_minor
        response.total = f"{quoted.currency.major(total_minor):f}"
    return response


def _fill_item(message: pb.QuotedItem, item: QuotedItem) -> None:
    fill_decision(message.decision, item.decided)
    message.amount = item.decided.request.units
    for spend, micros in item.money:
        assert spend.spend is not None, spend.id
        currency = spend.spend.currency
        message.hold_money.add(
            feature=spend.id, currency=currency.code, exponent=currency.exponent, micros=micros
        )
    if item.credits is not None:
        message.hold_credits.CopyFrom(_credits_to_proto(item.credits))


def _credits_to_proto(amount: CreditAmount) -> pb.QuotedCredits:
    return pb.QuotedCredits(credit_type=amount.credit_type, micro=amount.micro)


def _line_to_proto(line: QuotedLine) -> pb.QuotedLine:
    item, origin = line.item, line.item.origin
    return pb.QuotedLine(
        price=origin.key,
        add_on=origin.add_on,
        feature=origin.feature,
        match=dict(origin.match),
        every=period_to_proto(line.every),
        amount=item.quantity,
        included_amount=line.included,
        charged_amount=item.quantity - line.included,
        cost=plain(item.amount),
        cost_minor=item.minor,
        used_before=line.used or 0,
        is_used_assumed=line.used is None,
    )
