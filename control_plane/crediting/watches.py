"""Which balances are watched, and for what: as customers' plans have it now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select

from control_plane.crediting.book import open_book
from control_plane.crediting.rows import LedgerId
from control_plane.crediting.top_up_rows import Watch, top_up_to_json, watch_from_row
from control_plane.crediting.watching import ledgers_due, set_watch
from control_plane.storage.top_up_tables import credit_watch
from weighbridge.rules.catalog import Catalog, Customer, CustomerStatus
from weighbridge.rules.credits import TopUp
from weighbridge.rules.lifecycle import plan_at

LEDGERS_PER_PAGE = 100


class _Wanted(NamedTuple):
    notify_below: tuple[int, ...]
    top_up: TopUp | None


_NOTHING = _Wanted((), None)


def watches_credits(catalog: Catalog) -> bool:
    """Whether anything in it has balances watched."""
    plans = (plan for versions in catalog.plans.values() for plan in versions.values())
    return any(plan.top_ups for plan in plans) or any(
        each.notify_below_micro for each in catalog.credit_types.values()
    )


def watch_balances(
    connection: Connection, catalog: Catalog, customer: Customer, now_ms: int
) -> None:
    """Have a customer's balances watched as its plans want it now, and look at those changed."""
    wanted = dict(_wanted(catalog, customer, now_ms))
    table = credit_watch
    rows = connection.execute(select(table).where(table.c.customer_id == customer.id))
    there = {row.credit_type: watch_from_row(row) for row in rows}
    for credit_type in sorted(wanted.keys() | there.keys()):
        ledger = LedgerId(customer.id, credit_type)
        if _put(connection, ledger, there.get(credit_type), wanted.get(credit_type, _NOTHING)):
            _look_at(connection, ledger, now_ms)


def look_at_due(connection: Connection, now_ms: int) -> int:
    """Look at a page of ledgers for which the time for an order has come; return how many."""
    due = ledgers_due(connection, now_ms, LEDGERS_PER_PAGE)
    for ledger in sorted(due):
        set_watch(connection, ledger, next_at_ms=None)
        _look_at(connection, ledger, now_ms)
    return len(due)


def _wanted(catalog: Catalog, customer: Customer, now_ms: int) -> Iterator[tuple[str, _Wanted]]:
    if customer.status is not CustomerStatus.ACTIVE:
        return
    top_ups: dict[str, TopUp] = {}
    for subscription in customer.subscriptions:
        if subscription.is_active(now_ms):
            plan = plan_at(catalog, subscription, now_ms).plan
            for top_up in plan.top_ups if plan is not None else ():
                # The customer's own subscription comes before those of its resources.
                top_ups.setdefault(top_up.credit_type, top_up)
    for id_, credit_type in catalog.credit_types.items():
        if credit_type.notify_below_micro or id_ in top_ups:
            yield id_, _Wanted(credit_type.notify_below_micro, top_ups.get(id_))


def _put(connection: Connection, ledger: LedgerId, before: Watch | None, wanted: _Wanted) -> bool:
    """Write what is wanted; whether that changed anything."""
    if before is not None and (before.notify_below, before.top_up) == wanted:
        return False
    values: dict[str, Any] = {
        "notify_below": list(wanted.notify_below),
        "top_up": None if wanted.top_up is None else top_up_to_json(wanted.top_up),
    }
    if before is None:
        key = {"customer_id": ledger.customer, "credit_type": ledger.credit_type}
        rest = {"failures": 0, "not_before_ms": 0}
        connection.execute(insert(credit_watch).values({**key, **values, **rest}))
        return True
    if before.top_up != wanted.top_up:
        # Another cap, or another target: what kept orders from being made may do so no more.
        values |= {"failures": 0, "not_before_ms": 0, "next_at_ms": None}
    set_watch(connection, ledger, **values)
    return True


def _look_at(connection: Connection, ledger: LedgerId, now_ms: int) -> None:
    with open_book(connection, ledger, now_ms) as book:
        book.is_noted = True
