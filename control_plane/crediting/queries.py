"""What administrators read of ledgers: balances now and then, grants, and transactions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from control_plane.crediting.rows import (
    LedgerId,
    Price,
    Transaction,
    lot_from_row,
    transaction_from_row,
)
from control_plane.provisioning.changing import require_customer
from control_plane.storage.ledger_tables import (
    credit_balance,
    credit_grant,
    ledger_entry,
    ledger_transaction,
)
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.ledger import Balance, Entry, Lot, Totals, balance_of, grant_account
from weighbridge.rules.units import KEY_LENGTH_MAX, require_optional_id, require_text

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant with what is left of it, and what was paid for it."""

    ledger: LedgerId
    lot: Lot
    price: Price | None


@dataclass(frozen=True, slots=True)
class EntryQuery:
    """Which transactions of a customer to list, newest first: "" is any."""

    customer: str
    credit_type: str = ""
    event_key: str = ""
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """Transactions, and where the next page begins ("" after the last)."""

    transactions: tuple[Transaction, ...]
    next_page_token: str


def balances(
    connection: Connection, customer: str, credit_type: str, now_ms: int
) -> dict[LedgerId, Balance]:
    """Return the balances of a customer now, of one credit type or all ("")."""
    ledgers = _ledgers(connection, customer, credit_type)
    lots: dict[str, list[Lot]] = defaultdict(list)
    table = credit_grant.c
    for row in connection.execute(
        select(credit_grant).where(table.customer_id == customer, table.balance > 0)
    ):
        lots[row.credit_type].append(lot_from_row(row))
    return {
        ledger: balance_of(lots[ledger.credit_type], _totals_of(head), now_ms)
        for ledger, head in ledgers.items()
    }


def balances_at(
    connection: Connection, customer: str, credit_type: str, at_ms: int
) -> dict[LedgerId, Balance]:
    """Return the balances of a customer as the ledgers had them at an instant.

    From entries that were booked by then. What was handed out then is not kept: none is reserved.
    """
    accounts = _accounts_at(connection, customer, at_ms)
    lots: dict[str, list[Lot]] = defaultdict(list)
    query = select(credit_grant).where(credit_grant.c.customer_id == customer)
    for row in connection.execute(query):
        left = accounts[row.credit_type].get(grant_account(row.id), 0)
        lots[row.credit_type].append(Lot(lot_from_row(row).grant, left))
    found = {}
    for ledger in _ledgers(connection, customer, credit_type):
        entries = [Entry(*each) for each in accounts[ledger.credit_type].items()]
        totals = Totals().with_entries(entries)
        found[ledger] = balance_of(lots[ledger.credit_type], totals, at_ms)
    return found


def list_grants(
    connection: Connection, customer: str, credit_type: str, *, with_empty: bool
) -> list[StoredGrant]:
    """Return a customer's grants in burn order, by credit type; those with nothing left if asked.

    Raises NotFoundError and InvalidArgumentError.
    """
    ledgers = _ledgers(connection, customer, credit_type)
    table = credit_grant.c
    query = select(credit_grant).where(table.customer_id == customer)
    if not with_empty:
        query = query.where(table.balance > 0)
    found = [_stored_grant(row) for row in connection.execute(query)]
    wanted = [each for each in found if each.ledger in ledgers]
    return sorted(wanted, key=lambda each: (each.ledger, each.lot.grant.burn_rank))


def list_transactions(connection: Connection, query: EntryQuery) -> TransactionPage:
    """Return a page of transactions with their entries, newest first.

    Raises NotFoundError and InvalidArgumentError naming the field.
    """
    require_customer(connection, "customer", query.customer)
    require_optional_id("credit_type", query.credit_type)
    require_text("event_key", query.event_key, KEY_LENGTH_MAX)
    if not 0 <= query.page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{query.page_size} is not 0 to {PAGE_SIZE_MAX}")
    size = query.page_size or PAGE_SIZE_DEFAULT
    table = ledger_transaction.c
    wanted = (
        select(ledger_transaction)
        .where(*_conditions(query))
        .order_by(table.booked_at_ms.desc(), table.credit_type, table.number.desc())
        .limit(size + 1)
    )
    rows = connection.execute(wanted).all()
    page = rows[:size]
    entries = _entries_of(connection, query.customer, page)
    transactions = tuple(
        transaction_from_row(row, tuple(entries[row.credit_type, row.number])) for row in page
    )
    token = _token(page[-1]) if len(rows) > size else ""
    return TransactionPage(transactions, token)


def _ledgers(connection: Connection, customer: str, credit_type: str) -> dict[LedgerId, Row[Any]]:
    require_customer(connection, "customer", customer)
    require_optional_id("credit_type", credit_type)
    table = credit_balance.c
    query = select(credit_balance).where(table.customer_id == customer)
    if credit_type:
        query = query.where(table.credit_type == credit_type)
    found = connection.execute(query.order_by(table.credit_type))
    return {LedgerId(row.customer_id, row.credit_type): row for row in found}


def _totals_of(head: Row[Any]) -> Totals:
    return Totals(*(getattr(head, name) for name in Totals._fields))


def _accounts_at(connection: Connection, customer: str, at_ms: int) -> dict[str, dict[str, int]]:
    table, entry = ledger_transaction.c, ledger_entry.c
    query = (
        select(entry.credit_type, entry.account, func.sum(entry.amount))
        .join_from(ledger_entry, ledger_transaction, _is_entry_of())
        .where(table.customer_id == customer, table.booked_at_ms <= at_ms)
        .group_by(entry.credit_type, entry.account)
    )
    accounts: dict[str, dict[str, int]] = defaultdict(dict)
    for credit_type, account, amount in connection.execute(query):
        accounts[credit_type][account] = int(amount)
    return accounts


def _is_entry_of() -> ColumnElement[bool]:
    table, entry = ledger_transaction.c, ledger_entry.c
    return and_(
        table.customer_id == entry.customer_id,
        table.credit_type == entry.credit_type,
        table.number == entry.number,
    )


def _stored_grant(row: Row[Any]) -> StoredGrant:
    price = None if row.currency is None else Price(row.currency, row.price_minor)
    ledger = LedgerId(row.customer_id, row.credit_type)
    return StoredGrant(ledger, lot_from_row(row), price)


def _conditions(query: EntryQuery) -> list[ColumnElement[bool]]:
    table = ledger_transaction.c
    conditions = [table.customer_id == query.customer]
    if query.credit_type:
        conditions.append(table.credit_type == query.credit_type)
    if query.event_key:
        conditions.append(table.event_key == query.event_key)
    if query.page_token:
        booked_at_ms, credit_type, number = _from_token(query.page_token)
        is_later_type = or_(
            table.credit_type > credit_type,
            and_(table.credit_type == credit_type, table.number < number),
        )
        conditions.append(
            or_(
                table.booked_at_ms < booked_at_ms,
                and_(table.booked_at_ms == booked_at_ms, is_later_type),
            )
        )
    return conditions


def _token(last: Row[Any]) -> str:
    return f"{last.booked_at_ms}.{last.number}.{last.credit_type}"


def _from_token(token: str) -> tuple[int, str, int]:
    booked_at_ms, _, rest = token.partition(".")
    number, _, credit_type = rest.partition(".")
    if not (booked_at_ms.isdecimal() and number.isdecimal() and credit_type):
        raise InvalidArgumentError("page_token", "is not one that a page came with")
    return int(booked_at_ms), credit_type, int(number)


def _entries_of(
    connection: Connection, customer: str, page: Sequence[Row[Any]]
) -> dict[tuple[str, int], list[Entry]]:
    wanted: dict[str, list[int]] = defaultdict(list)
    for row in page:
        wanted[row.credit_type].append(row.number)
    found: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    entry = ledger_entry.c
    for credit_type, numbers in wanted.items():
        query = (
            select(entry.number, entry.account, entry.amount)
            .where(
                entry.customer_id == customer,
                entry.credit_type == credit_type,
                entry.number.in_(numbers),
            )
            .order_by(entry.account)
        )
        for number, account, amount in connection.execute(query):
            found[credit_type, number].append(Entry(account, amount))
    return found
