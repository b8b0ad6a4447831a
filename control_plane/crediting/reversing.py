"""Reversals and refunds: what was posted is taken back by entries of its own, never changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection

from control_plane.crediting.book import Book, Posting
from control_plane.crediting.granting import require_micro
from control_plane.crediting.rows import Transaction, find_transaction
from weighbridge.rules.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.ledger import (
    OVERAGE,
    TAKING_BACK,
    Burn,
    EntryKind,
    Part,
    grant_account,
    grant_of,
    in_burn_order,
    refund_entries,
    reversal_entries,
)


@dataclass(frozen=True, slots=True)
class Reversal:
    """A transaction, by its key, to take back: all that is left of it, or part of a charge."""

    key: str
    of_key: str
    amount: int | None = None
    note: str = ""


def require_transaction(connection: Connection, customer: str, key: str) -> Transaction:
    """Return the transaction that has the key. Raises NotFoundError."""
    found = find_transaction(connection, customer, key)
    if found is None:
        raise NotFoundError(f"customer {customer!r} has no transaction with key {key!r}")
    return found[0]


def reverse(book: Book, wanted: Reversal) -> Transaction:
    """Take a transaction of this ledger back.

    What goes back to a grant that has expired expires again. Raises FailedPreconditionError where
    nothing is left to take back, or a grant has too little left; NotFoundError;
    InvalidArgumentError naming the field; ConflictError where the key is that of something else.
    """
    payload = ("reverse", wanted.of_key, wanted.amount)
    known = book.known(wanted.key, payload)
    if known is not None:
        return known
    original = book.transaction(wanted.of_key)
    if original.kind in TAKING_BACK:
        raise FailedPreconditionError(
            f"transaction {original.number} of {book.ledger} is itself a {original.kind.value}; "
            "post what is right instead"
        )
    left = _left_of(book, original)
    if not any(left.values()):
        raise FailedPreconditionError(
            f"transaction {original.number} of {book.ledger} is taken back already"
        )
    if wanted.amount is None:
        is_presumption = original.kind is EntryKind.PRESUME
        kind = EntryKind.PRESUME_REVERSAL if is_presumption else EntryKind.REVERSAL
        entries = reversal_entries(left)
    else:
        kind = EntryKind.REFUND
        entries = refund_entries(_still_spent(book, original, left), _require_part(wanted))
    posting = Posting(
        wanted.key,
        kind,
        book.now_ms,
        payload,
        usage=original.usage,
        reverses=original.number,
        note=wanted.note,
    )
    return book.post(posting, entries)


def _require_part(wanted: Reversal) -> int:
    assert wanted.amount is not None, "asked for a part"
    return require_micro("amount", wanted.amount)


def _left_of(book: Book, original: Transaction) -> Counter[str]:
    """Return what a transaction and what took back of it so far add up to, by account."""
    left: Counter[str] = Counter()
    for entries in (original.entries, *book.taken_back(original.number)):
        for account, amount in entries:
            left[account] += amount
    return left


def _still_spent(book: Book, original: Transaction, left: Counter[str]) -> Burn:
    if original.kind is not EntryKind.SETTLE:
        problem = f"goes with a charge only; the transaction is a {original.kind.value}"
        raise InvalidArgumentError("amount", problem)
    lots = [book.lot(grant) for account in left if (grant := grant_of(account)) is not None]
    parts = [Part(lot.grant.id, -left[grant_account(lot.grant.id)]) for lot in in_burn_order(lots)]
    return Burn(tuple(parts), -left[OVERAGE])
