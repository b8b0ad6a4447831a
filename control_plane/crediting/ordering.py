"""Top-up orders: paid, failed, expired; each makes its grant once, whoever answers how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from control_plane.crediting.book import OWN_KEY_MARK, Book, open_book
from control_plane.crediting.granting import DAY_MS, NewGrant, create_grant
from control_plane.crediting.rows import Price
from control_plane.crediting.telling import top_up_failed, topped_up
from control_plane.crediting.top_up_rows import TopUpOrder, order_from_row
from control_plane.crediting.watching import find_watch, set_watch
from control_plane.notifying import tell
from control_plane.provisioning.changing import require_customer
from control_plane.storage.top_up_tables import top_up_order
from weighbridge.rules.credits import GrantEnd, GrantKind
from weighbridge.rules.errors import ConflictError, InvalidArgumentError, NotFoundError
from weighbridge.rules.top_up import OrderState, failed, paid, retry_ms
from weighbridge.rules.units import KEY_LENGTH_MAX, require_text

REASON_LENGTH_MAX: Final = 256
ORDERS_PER_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Whose orders, newest first; a credit type "" is any."""

    customer: str
    credit_type: str = ""
    page_size: int = 100
    # When the last one of the page before was requested, and its id.
    after: tuple[int, str] | None = None


def confirm_order(
    connection: Connection, id_: str, payment_id: str, price: Price | None, now_ms: int
) -> tuple[TopUpOrder, bool]:
    """Take in that an order is paid: its credits are granted. Returns whether it was before.

    One payment pays one order, once. Raises NotFoundError, ConflictError where another payment
    paid it or the payment paid another, and InvalidArgumentError naming the field.
    """
    require_text("payment_id", payment_id, KEY_LENGTH_MAX)
    if not payment_id:
        raise InvalidArgumentError("payment_id", "is empty; a payment is told by it")
    order = require_order(connection, id_)
    answered = paid(order.state, payment_id, order.payment_id)
    if answered.is_repeated:
        return order, True
    _require_unused(connection, payment_id)
    with open_book(connection, order.ledger, now_ms) as book:
        return _pay(book, order, payment_id, _price_paid(order, price)), False


def fail_order(connection: Connection, id_: str, reason: str, now_ms: int) -> TopUpOrder:
    """Take in that an order is not going to be paid. It may be asked for again after a while.

    Said again, the first reason stands. Raises NotFoundError, FailedPreconditionError where it is
    paid.
    """
    require_text("reason", reason, REASON_LENGTH_MAX)
    order = require_order(connection, id_)
    answered = failed(order.state)
    if answered.is_repeated:
        return order
    return _end(connection, order, answered.state, reason or "declined", now_ms)


def expire_orders(connection: Connection, answer_within_ms: int, now_ms: int) -> int:
    """End a page of orders that nobody answered in time; return how many."""
    table = top_up_order.c
    late = connection.execute(
        select(top_up_order)
        .where(
            table.state == OrderState.REQUESTED.value,
            # What a provider was asked for may be paid: that is asked until it is known.
            table.attempts == 0,
            table.requested_at_ms <= now_ms - answer_within_ms,
        )
        .order_by(table.customer_id, table.credit_type)
        .limit(ORDERS_PER_PAGE)
        .with_for_update(skip_locked=True)
    ).all()
    for row in late:
        _end(connection, order_from_row(row), OrderState.EXPIRED, "nobody answered", now_ms)
    return len(late)


def require_order(connection: Connection, id_: str) -> TopUpOrder:
    """Return an order, which is this transaction's to change. Raises NotFoundError."""
    query = select(top_up_order).where(top_up_order.c.id == id_).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(f"top-up order {id_!r} does not exist; see `credits top-ups CUSTOMER`")
    return order_from_row(row)


def list_orders(connection: Connection, query: OrderQuery) -> list[TopUpOrder]:
    """Return orders of a customer, newest first. Raises NotFoundError where there is no such."""
    require_customer(connection, "customer", query.customer)
    table = top_up_order.c
    wanted = select(top_up_order).where(table.customer_id == query.customer)
    if query.credit_type:
        wanted = wanted.where(table.credit_type == query.credit_type)
    if query.after is not None:
        at_ms, id_ = query.after
        is_same = (table.requested_at_ms == at_ms) & (table.id > id_)
        wanted = wanted.where((table.requested_at_ms < at_ms) | is_same)
    wanted = wanted.order_by(table.requested_at_ms.desc(), table.id).limit(query.page_size)
    return [order_from_row(row) for row in connection.execute(wanted)]


def _require_unused(connection: Connection, payment_id: str) -> None:
    table = top_up_order.c
    found: Row[Any] | None = connection.execute(
        select(table.id).where(table.payment_id == payment_id)
    ).one_or_none()
    if found is not None:
        raise ConflictError(f"payment_id: {payment_id!r} paid order {found.id} already")


def _price_paid(order: TopUpOrder, price: Price | None) -> Price | None:
    if price is not None:
        return price
    prices = order.prices
    if len(prices) > 1:
        listed = ", ".join(f"{each.minor}:{each.currency}" for each in prices)
        raise InvalidArgumentError("price_paid", f"is not set; the order is {listed}: say which")
    return prices[0] if prices else None


def _pay(book: Book, order: TopUpOrder, payment_id: str, price: Price | None) -> TopUpOrder:
    now_ms, terms = book.now_ms, order.terms
    expires_at_ms = None
    if terms.expiry.end is GrantEnd.AFTER_DAYS:
        expires_at_ms = now_ms + terms.expiry.days * DAY_MS
    new = NewGrant(
        key=f"{OWN_KEY_MARK}topup/{order.id}",
        kind=GrantKind.PREPAID,
        amount=order.amount,
        expires_at_ms=expires_at_ms,
        priority=terms.priority,
        price=price,
        is_top_up=True,
        note=f"top-up {order.id}",
    )
    granted = create_grant(book, new)
    values = {
        "state": OrderState.PAID.value,
        "payment_id": payment_id,
        "currency": None if price is None else price.currency,
        "price_minor": None if price is None else price.minor,
        "grant_id": granted.number,
        "ended_at_ms": now_ms,
        "reason": "",
    }
    _store(book.connection, order, values)
    watch = find_watch(book.connection, order.ledger)
    if watch is not None and watch.open_order == order.id:
        set_watch(book.connection, order.ledger, open_order=None, failures=0, not_before_ms=0)
    stored = require_order(book.connection, order.id)
    tell(book.connection, [topped_up(stored, now_ms)], now_ms)
    return stored


def _end(
    connection: Connection, order: TopUpOrder, state: OrderState, reason: str, now_ms: int
) -> TopUpOrder:
    values = {"state": state.value, "reason": reason, "ended_at_ms": now_ms}
    _store(connection, order, values)
    watch = find_watch(connection, order.ledger)
    if watch is not None and watch.open_order == order.id:
        failures = watch.failures + 1
        next_at_ms = now_ms + retry_ms(failures)
        times = {"not_before_ms": next_at_ms, "next_at_ms": next_at_ms}
        set_watch(connection, order.ledger, open_order=None, failures=failures, **times)
    stored = require_order(connection, order.id)
    tell(connection, [top_up_failed(stored, now_ms)], now_ms)
    return stored


def _store(connection: Connection, order: TopUpOrder, values: dict[str, Any]) -> None:
    table = top_up_order
    connection.execute(update(table).where(table.c.id == order.id).values(**values))
