"""Top-up orders ⇄ protobuf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from control_plane.crediting.ordering import OrderQuery
from control_plane.crediting.rows import Price
from control_plane.crediting.top_up_rows import TopUpOrder
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.top_up import OrderState
from weighbridge.v1 import credit_service_pb2 as pb

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000

STATES: Final[Mapping[OrderState, pb.TopUpState.ValueType]] = {
    OrderState.REQUESTED: pb.TOP_UP_STATE_REQUESTED,
    OrderState.PAID: pb.TOP_UP_STATE_PAID,
    OrderState.FAILED: pb.TOP_UP_STATE_FAILED,
    OrderState.EXPIRED: pb.TOP_UP_STATE_EXPIRED,
}


def order_query_from_proto(request: pb.ListTopUpsRequest) -> OrderQuery:
    """Return which orders are wanted, one more than a page. Raises InvalidArgumentError."""
    if not 0 <= request.page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{request.page_size} is not 0 to {PAGE_SIZE_MAX}")
    size = request.page_size or PAGE_SIZE_DEFAULT
    after = _after(request.page_token) if request.page_token else None
    return OrderQuery(request.customer, request.credit_type, size + 1, after)


def orders_to_proto(found: Sequence[TopUpOrder], page_size: int) -> pb.ListTopUpsResponse:
    """Return a page; `found` has one more where there is a next one."""
    page = found[:page_size]
    token = ""
    if len(found) > page_size:
        token = f"{page[-1].requested_at_ms}.{page[-1].id}"
    return pb.ListTopUpsResponse(orders=map(order_to_proto, page), next_page_token=token)


def price_from_proto(request: pb.ConfirmTopUpRequest) -> Price | None:
    if not request.HasField("price_paid"):
        return None
    return Price(request.price_paid.currency, request.price_paid.amount_minor)


def order_to_proto(order: TopUpOrder) -> pb.TopUpOrder:
    return pb.TopUpOrder(
        id=order.id,
        customer=order.ledger.customer,
        credit_type=order.ledger.credit_type,
        number=order.number,
        state=STATES[order.state],
        amount_micro=order.amount,
        prices=map(_price_to_proto, order.prices),
        requested_at_unix_ms=order.requested_at_ms,
        ended_at_unix_ms=order.ended_at_ms,
        reason=order.reason,
        payment_id=order.payment_id or "",
        price_paid=None if order.price is None else _price_to_proto(order.price),
        grant=order.grant or 0,
    )


def _price_to_proto(price: Price) -> pb.PricePaid:
    return pb.PricePaid(currency=price.currency, amount_minor=price.minor)


def _after(token: str) -> tuple[int, str]:
    at_ms, _, id_ = token.partition(".")
    if not (at_ms.isdecimal() and id_):
        raise InvalidArgumentError("page_token", "is not one that a page came with")
    return int(at_ms), id_
