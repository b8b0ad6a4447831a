"""Balances that fall: whom that is told, and the orders that it makes.

`note_balance` is called by `open_book` for every ledger that was changed, within the same
transaction. Without a watch, that is one look by key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from control_plane.crediting.rows import LedgerId
from control_plane.crediting.telling import threshold_reached, top_up_requested
from control_plane.crediting.top_up_rows import (
    TopUpOrder,
    Watch,
    top_up_to_json,
    watch_from_row,
)
from control_plane.notifying import tell
from control_plane.storage.top_up_tables import credit_watch, top_up_order, top_up_setting
from weighbridge.rules.credits import TopUp
from weighbridge.rules.ledger import Lot, Totals, balance_of
from weighbridge.rules.top_up import (
    OrderState,
    Provider,
    is_low,
    lowest_reached,
    micro_to_buy,
    month_of,
)

COUNTED_UNDER_CAP: Final = (OrderState.REQUESTED.value, OrderState.PAID.value)


def note_balance(
    connection: Connection, ledger: LedgerId, lots: Iterable[Lot], now_ms: int, *, is_unused: bool
) -> None:
    """Tell of a threshold that the balance fell to, and order credits where it is low.

    `is_unused`: the ledger never had any credits, so none of them are gone.
    """
    watch = find_watch(connection, ledger)
    if watch is None:
        return
    unspent = unspent_micro(lots, now_ms)
    if not is_unused:
        watch = _note_thresholds(connection, watch, unspent, now_ms)
    if watch.top_up is not None and watch.open_order is None:
        _order_if_low(connection, watch, watch.top_up, unspent, now_ms)


def unspent_micro(lots: Iterable[Lot], now_ms: int) -> int:
    """Return what can be spent and is not: what sidecars hold is theirs to spend, and counts.

    They hand out of it what one of them needs, so it is not gone before it is charged.
    """
    balance = balance_of(lots, Totals(), now_ms)
    return balance.available + balance.reserved


def find_watch(connection: Connection, ledger: LedgerId) -> Watch | None:
    """Return what is to happen when the ledger's balance falls."""
    row = connection.execute(select(credit_watch).where(*_is_of(ledger))).one_or_none()
    return None if row is None else watch_from_row(row)


def set_watch(connection: Connection, ledger: LedgerId, **values: Any) -> None:
    """Set columns of a watch that is there."""
    connection.execute(update(credit_watch).where(*_is_of(ledger)).values(**values))


def provider_of(connection: Connection) -> Provider:
    """Return who is asked to have orders paid."""
    found = connection.execute(select(top_up_setting.c.provider)).scalar_one_or_none()
    return Provider.WEBHOOK if found is None else Provider(found)


def set_provider(connection: Connection, provider: Provider, now_ms: int) -> None:
    """Have orders paid by another; who had to wait because there was none is looked at."""
    before = provider_of(connection)
    connection.execute(delete(top_up_setting))
    connection.execute(insert(top_up_setting).values(id=1, provider=provider.value))
    if before is Provider.NONE and provider is not before:
        table = credit_watch.c
        waits = (table.open_order.is_(None), table.next_at_ms.is_(None))
        connection.execute(update(credit_watch).where(*waits).values(next_at_ms=now_ms))


def ledgers_due(connection: Connection, now_ms: int, limit: int) -> list[LedgerId]:
    """Return ledgers to be looked at again, because the time for an order has come."""
    table = credit_watch.c
    query = (
        select(table.customer_id, table.credit_type)
        .where(table.next_at_ms <= now_ms)
        .order_by(table.next_at_ms)
        .limit(limit)
    )
    return [LedgerId(*row) for row in connection.execute(query)]


def _note_thresholds(connection: Connection, watch: Watch, unspent: int, now_ms: int) -> Watch:
    """Tell of the lowest threshold reached, once until the balance is above it again."""
    reached = lowest_reached(watch.notify_below, unspent)
    if reached == watch.told_micro:
        return watch
    set_watch(connection, watch.ledger, told_micro=reached)
    is_news = reached is not None and (watch.told_micro is None or reached < watch.told_micro)
    if is_news and reached is not None:
        tell(connection, [threshold_reached(watch.ledger, reached, unspent, now_ms)], now_ms)
    return replace(watch, told_micro=reached)


def _order_if_low(
    connection: Connection, watch: Watch, top_up: TopUp, unspent: int, now_ms: int
) -> None:
    if now_ms < watch.not_before_ms:
        return
    if not is_low(top_up, unspent):
        if watch.next_at_ms is not None:
            set_watch(connection, watch.ledger, next_at_ms=None)
        return
    provider = provider_of(connection)
    if provider is Provider.NONE:
        return
    month = month_of(now_ms)
    ordered = _ordered_micro(connection, watch.ledger, month.start_ms)
    amount = micro_to_buy(top_up, unspent, ordered)
    if not amount:
        set_watch(connection, watch.ledger, not_before_ms=month.end_ms, next_at_ms=month.end_ms)
        return
    order = _insert_order(connection, watch.ledger, top_up, amount, now_ms)
    set_watch(connection, watch.ledger, open_order=order.id, next_at_ms=None)
    if provider is Provider.WEBHOOK:
        tell(connection, [top_up_requested(order)], now_ms)


def _ordered_micro(connection: Connection, ledger: LedgerId, month_ms: int) -> int:
    table = top_up_order.c
    query = select(func.coalesce(func.sum(table.amount), 0)).where(
        table.customer_id == ledger.customer,
        table.credit_type == ledger.credit_type,
        table.month_ms == month_ms,
        table.state.in_(COUNTED_UNDER_CAP),
    )
    return int(connection.execute(query).scalar_one())


def _insert_order(
    connection: Connection, ledger: LedgerId, top_up: TopUp, amount: int, now_ms: int
) -> TopUpOrder:
    table = top_up_order.c
    last = select(func.coalesce(func.max(table.number), 0)).where(
        table.customer_id == ledger.customer, table.credit_type == ledger.credit_type
    )
    number = connection.execute(last).scalar_one() + 1
    order = TopUpOrder(
        # With the time: a database that was put back must not ask under an id that was used.
        id=_order_id(ledger, number, now_ms),
        ledger=ledger,
        number=number,
        state=OrderState.REQUESTED,
        amount=amount,
        terms=top_up,
        requested_at_ms=now_ms,
    )
    row = {
        "id": order.id,
        "customer_id": ledger.customer,
        "credit_type": ledger.credit_type,
        "number": number,
        "state": order.state.value,
        "amount": amount,
        "terms": top_up_to_json(top_up),
        "month_ms": month_of(now_ms).start_ms,
        "requested_at_ms": now_ms,
        "reason": "",
        "attempts": 0,
        "next_at_ms": now_ms,
        "claimed_by": "",
        "claimed_until_ms": 0,
    }
    connection.execute(insert(top_up_order).values(row))
    return order


def _order_id(ledger: LedgerId, number: int, now_ms: int) -> str:
    told = repr((*ledger, number, now_ms))
    return f"topup_{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def _is_of(ledger: LedgerId) -> tuple[ColumnElement[bool], ...]:
    table = credit_watch.c
    return (table.customer_id == ledger.customer, table.credit_type == ledger.credit_type)
