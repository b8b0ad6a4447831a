"""Grants: credits come into being, are added to, withdrawn, expire and roll over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from control_plane.crediting.book import OWN_KEY_MARK, Book, Posting, open_book
from control_plane.crediting.rows import LedgerId, NewGrantRow, Price, Transaction
from control_plane.provisioning.checks import require_instant
from control_plane.storage.ledger_tables import credit_grant
from weighbridge.rules.credits import MICRO_MAX, PRIORITY_DEFAULT, PRIORITY_MAX, GrantKind
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.rules.ledger import (
    EntryKind,
    Grant,
    Rollover,
    adjustment_entries,
    expire_entries,
    grant_entries,
    lapses,
)
from weighbridge.rules.units import KEY_LENGTH_MAX, require_text

EXPIRED_PER_PAGE: Final = 500
DAY_MS: Final = 24 * 3_600_000
CURRENCY_LENGTH: Final = 3


@dataclass(frozen=True, slots=True)
class NewGrant:
    """A grant to make. Not `effective_at_ms`: from now on; not `expires_at_ms`: never expires."""

    key: str
    kind: GrantKind
    amount: int
    effective_at_ms: int | None = None
    expires_at_ms: int | None = None
    priority: int = PRIORITY_DEFAULT
    rollover: Rollover | None = None
    price: Price | None = None
    is_top_up: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Credits to add to a grant, or to withdraw from it where `change` is below zero."""

    key: str
    grant: int
    change: int
    note: str = ""


def create_grant(book: Book, new: NewGrant) -> Transaction:
    """Make a grant. Its id is the transaction's number.

    Asked for again with the same key: the first is returned. Raises InvalidArgumentError naming
    the field, and ConflictError where the key is that of something else.
    """
    payload = _payload(new)
    known = book.known(new.key, payload)
    if known is not None:
        return known
    _require_sound(new, book.now_ms)
    # What the last period left behind lapses before the next one's comes.
    book_expiries(book)
    effective_at_ms = book.now_ms if new.effective_at_ms is None else new.effective_at_ms
    grant = Grant(
        id=book.next_number,
        kind=new.kind,
        amount=new.amount,
        effective_at_ms=effective_at_ms,
        expires_at_ms=new.expires_at_ms,
        priority=new.priority,
        rollover=new.rollover,
    )
    kind = EntryKind.TOP_UP if new.is_top_up else EntryKind.GRANT
    posting = Posting(new.key, kind, book.now_ms, payload, note=new.note)
    entries = grant_entries(grant.id, new.amount)
    return book.post(posting, entries, NewGrantRow(grant, new.price))


def adjust_grant(book: Book, wanted: Adjustment) -> Transaction:
    """Add to a grant, or withdraw what is left of it and nobody holds.

    Raises InvalidArgumentError, NotFoundError, and FailedPreconditionError where less is left, or
    the grant has expired.
    """
    payload = ("adjust", wanted.grant, wanted.change)
    known = book.known(wanted.key, payload)
    if known is not None:
        return known
    if not wanted.change:
        raise InvalidArgumentError("change", "is 0; name what to add, or to withdraw")
    require_micro("change", abs(wanted.change))
    if book.lot(wanted.grant).grant.is_over(book.now_ms):
        raise FailedPreconditionError(f"grant {wanted.grant} of {book.ledger} has expired")
    posting = Posting(wanted.key, EntryKind.ADJUSTMENT, book.now_ms, payload, note=wanted.note)
    return book.post(posting, adjustment_entries(wanted.grant, wanted.change))


def expire_due(connection: Connection, now_ms: int) -> int:
    """Book what has expired, at most a page of grants; return how many there were.

    What is handed out of a grant keeps it open until it is settled or given back.
    """
    table = credit_grant.c
    due = connection.execute(
        select(table.customer_id, table.credit_type)
        .where(table.expires_at_ms <= now_ms, table.balance > 0, table.reserved == 0)
        .order_by(table.expires_at_ms)
        .limit(EXPIRED_PER_PAGE)
    ).all()
    # In one order, so that two who do this at once wait for each other and do not deadlock.
    for each in sorted({LedgerId(*row) for row in due}):
        with open_book(connection, each, now_ms) as book:
            book_expiries(book)
    return len(due)


def book_expiries(book: Book) -> None:
    """Book what has expired in one ledger, or is past what may roll over."""
    for lapse in lapses(book.lots, book.now_ms):
        # A refund fills an expired grant again, so a grant may expire several times.
        key = f"{OWN_KEY_MARK}expire/{book.ledger.credit_type}/{book.next_number}"
        posting = Posting(key, lapse.kind, lapse.since_ms, ("expire", *lapse.part))
        book.post(posting, expire_entries(*lapse.part))


def require_micro(field: str, amount: int, least: int = 1) -> int:
    """Return an amount of micro-credits. Raises InvalidArgumentError naming the field."""
    if least <= amount <= MICRO_MAX:
        return amount
    raise InvalidArgumentError(field, f"{amount} is not {least} to {MICRO_MAX} micro-credits")


def _payload(new: NewGrant) -> tuple[object, ...]:
    return (
        "grant",
        new.kind.value,
        new.amount,
        new.effective_at_ms,
        new.expires_at_ms,
        new.priority,
        new.rollover,
        new.price,
        new.is_top_up,
    )


def _require_sound(new: NewGrant, now_ms: int) -> None:
    require_micro("amount", new.amount)
    if not 0 <= new.priority <= PRIORITY_MAX:
        raise InvalidArgumentError("priority", f"{new.priority} is not 0 to {PRIORITY_MAX}")
    effective_at_ms = now_ms
    if new.effective_at_ms is not None:
        effective_at_ms = require_instant("effective_at_unix_ms", new.effective_at_ms)
    if new.expires_at_ms is not None:
        require_instant("expires_at_unix_ms", new.expires_at_ms)
        if new.expires_at_ms <= max(effective_at_ms, now_ms):
            problem = f"{new.expires_at_ms} has passed, or is not after the grant is effective"
            raise InvalidArgumentError("expires_at_unix_ms", problem)
    _require_rollover(new)
    if new.price is not None:
        _require_price(new.price)


def _require_rollover(new: NewGrant) -> None:
    if new.rollover is None:
        return
    require_micro("rollover.cap_micro", new.rollover.cap, least=0)
    require_text("rollover.series", new.rollover.series, KEY_LENGTH_MAX)
    require_instant("rollover.period_end_unix_ms", new.rollover.period_end_ms)


def _require_price(price: Price) -> None:
    is_code = price.currency.isascii() and price.currency.isalpha() and price.currency.isupper()
    if not is_code or len(price.currency) != CURRENCY_LENGTH:
        raise InvalidArgumentError("price.currency", "is not an ISO 4217 code, such as USD")
    if not 0 <= price.minor <= MICRO_MAX:
        raise InvalidArgumentError("price.amount_minor", f"{price.minor} is not 0 to {MICRO_MAX}")
