"""What the ledger tells others: messages of grants, balances and top-up orders."""

from __future__ import annotations

from typing import Any

from control_plane.crediting.rows import LedgerId, NewGrantRow, Price
from control_plane.crediting.top_up_rows import TopUpOrder
from control_plane.notifying import EventType, Message
from control_plane.notifying.messages import instant_text


def granted(ledger: LedgerId, row: NewGrantRow, now_ms: int) -> Message:
    """Tell of a grant that was made."""
    grant = row.grant
    data = {
        "credit_type": ledger.credit_type,
        "grant": grant.id,
        "kind": grant.kind.value,
        "amount_micro": grant.amount,
        "effective_at": instant_text(grant.effective_at_ms),
        "expires_at": instant_text(grant.expires_at_ms),
        "price_paid": None if row.price is None else _price(row.price),
    }
    return Message(EventType.CREDITS_GRANTED, ledger.customer, now_ms, data)


def threshold_reached(ledger: LedgerId, threshold: int, unspent: int, now_ms: int) -> Message:
    """Tell of a balance that fell to a threshold."""
    data = {
        "credit_type": ledger.credit_type,
        "threshold_micro": threshold,
        "unspent_micro": unspent,
    }
    return Message(EventType.CREDITS_THRESHOLD_REACHED, ledger.customer, now_ms, data)


def top_up_requested(order: TopUpOrder) -> Message:
    """Tell of credits that are to be paid for: the same of an order, whenever it is said."""
    customer = order.ledger.customer
    return Message(EventType.TOP_UP_REQUESTED, customer, order.requested_at_ms, _order(order))


def topped_up(order: TopUpOrder, now_ms: int) -> Message:
    """Tell of an order that was paid."""
    data = {
        **_order(order),
        "payment_id": order.payment_id,
        "price_paid": None if order.price is None else _price(order.price),
        "grant": order.grant,
    }
    return Message(EventType.CREDITS_TOPPED_UP, order.ledger.customer, now_ms, data)


def top_up_failed(order: TopUpOrder, now_ms: int) -> Message:
    """Tell of an order that was not paid, or not in time."""
    data = {**_order(order), "state": order.state.value, "reason": order.reason}
    return Message(EventType.TOP_UP_FAILED, order.ledger.customer, now_ms, data)


def _order(order: TopUpOrder) -> dict[str, Any]:
    return {
        "order": order.id,
        "credit_type": order.ledger.credit_type,
        "amount_micro": order.amount,
        "prices": [_price(price) for price in order.prices],
        "requested_at": instant_text(order.requested_at_ms),
    }


def _price(price: Price) -> dict[str, Any]:
    return {"currency": price.currency, "amount_minor": price.minor}
