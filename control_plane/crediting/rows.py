"""Values of the ledger ⇄ rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, select

from control_plane.storage.ledger_tables import ledger_entry, ledger_transaction
from weighbridge.rules.credits import GrantKind
from weighbridge.rules.ledger import Entry, EntryKind, Grant, Lot, Rollover

RowValues = dict[str, Any]


class LedgerId(NamedTuple):
    """Which ledger: each customer has one of each credit type."""

    customer: str
    credit_type: str

    def __str__(self) -> str:
        return f"the ledger of customer {self.customer!r} in {self.credit_type!r}"


class UsageReference(NamedTuple):
    """What was used: the application's key, and the sidecar's record; "" and 0 where unknown."""

    event_key: str = ""
    sidecar_id: str = ""
    epoch: str = ""
    record_number: int = 0


NO_USAGE: Final = UsageReference()


class Price(NamedTuple):
    """What was paid for a grant, in the currency's minor unit."""

    currency: str
    minor: int


@dataclass(frozen=True, slots=True)
class NewGrantRow:
    """A grant with what burning does not ask for."""

    grant: Grant
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as it was posted, its entries by account.

    `occurred_at_ms` is when what it books took place, `booked_at_ms` when it was booked.
    `is_repeated`: it was there already when it was asked for again.
    """

    ledger: LedgerId
    number: int
    key: str
    kind: EntryKind
    amount: int
    occurred_at_ms: int
    booked_at_ms: int
    reverses: int | None
    usage: UsageReference
    note: str
    entries: tuple[Entry, ...]
    is_repeated: bool = False


def transaction_to_row(transaction: Transaction, digest: bytes) -> RowValues:
    usage = transaction.usage
    return {
        "customer_id": transaction.ledger.customer,
        "credit_type": transaction.ledger.credit_type,
        "number": transaction.number,
        "key": transaction.key,
        "digest": digest,
        "kind": transaction.kind.value,
        "amount": transaction.amount,
        "occurred_at_ms": transaction.occurred_at_ms,
        "booked_at_ms": transaction.booked_at_ms,
        "reverses": transaction.reverses,
        "event_key": usage.event_key or None,
        "sidecar_id": usage.sidecar_id or None,
        "epoch": usage.epoch or None,
        "record_number": usage.record_number or None,
        "note": transaction.note,
    }


def transaction_from_row(row: Row[Any], entries: tuple[Entry, ...]) -> Transaction:
    return Transaction(
        ledger=LedgerId(row.customer_id, row.credit_type),
        number=row.number,
        key=row.key,
        kind=EntryKind(row.kind),
        amount=row.amount,
        occurred_at_ms=row.occurred_at_ms,
        booked_at_ms=row.booked_at_ms,
        reverses=row.reverses,
        usage=UsageReference(
            row.event_key or "", row.sidecar_id or "", row.epoch or "", row.record_number or 0
        ),
        note=row.note,
        entries=entries,
    )


def entry_to_row(transaction: Transaction, entry: Entry) -> RowValues:
    return {
        "customer_id": transaction.ledger.customer,
        "credit_type": transaction.ledger.credit_type,
        "number": transaction.number,
        "account": entry.account,
        "amount": entry.amount,
    }


def grant_to_row(ledger: LedgerId, row: NewGrantRow, lot: Lot) -> RowValues:
    grant, price, rollover = row.grant, row.price, row.grant.rollover
    return {
        "customer_id": ledger.customer,
        "credit_type": ledger.credit_type,
        "id": grant.id,
        "kind": grant.kind.value,
        "amount": grant.amount,
        "priority": grant.priority,
        "effective_at_ms": grant.effective_at_ms,
        "expires_at_ms": grant.expires_at_ms,
        "series": None if rollover is None else rollover.series,
        "rollover_cap": None if rollover is None else rollover.cap,
        "period_end_ms": None if rollover is None else rollover.period_end_ms,
        "currency": None if price is None else price.currency,
        "price_minor": None if price is None else price.minor,
        "balance": lot.balance,
        "reserved": lot.reserved,
    }


def lot_from_row(row: Row[Any]) -> Lot:
    rollover = None
    if row.rollover_cap is not None:
        rollover = Rollover(row.series, row.rollover_cap, row.period_end_ms)
    grant = Grant(
        id=row.id,
        kind=GrantKind(row.kind),
        amount=row.amount,
        effective_at_ms=row.effective_at_ms,
        expires_at_ms=row.expires_at_ms,
        priority=row.priority,
        rollover=rollover,
    )
    return Lot(grant, row.balance, row.reserved)


def find_transaction(
    connection: Connection, customer: str, key: str
) -> tuple[Transaction, bytes] | None:
    """Return the transaction that has a key, and the digest of what was asked for."""
    table = ledger_transaction
    query = select(table).where(table.c.customer_id == customer, table.c.key == key)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    entry = ledger_entry.c
    entries = connection.execute(
        select(entry.account, entry.amount)
        .where(
            entry.customer_id == customer,
            entry.credit_type == row.credit_type,
            entry.number == row.number,
        )
        .order_by(entry.account)
    )
    return transaction_from_row(row, tuple(Entry(*each) for each in entries)), row.digest
