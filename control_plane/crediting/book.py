"""One ledger within one database transaction: locked, read once, posted to, and written back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from control_plane.crediting.rows import (
    NO_USAGE,
    LedgerId,
    NewGrantRow,
    Transaction,
    UsageReference,
    entry_to_row,
    find_transaction,
    grant_to_row,
    lot_from_row,
    transaction_to_row,
)
from control_plane.crediting.telling import granted
from control_plane.crediting.watching import note_balance
from control_plane.notifying import tell
from control_plane.provisioning.changing import require_customer
from control_plane.storage.ledger_tables import (
    credit_balance,
    credit_grant,
    ledger_entry,
    ledger_transaction,
)
from weighbridge.rules.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.ledger import (
    LEDGER_MICROS_MAX,
    Entry,
    EntryKind,
    Lot,
    Totals,
    grant_of,
    require_balanced,
)
from weighbridge.rules.units import KEY_LENGTH_MAX, require_id, require_text

OWN_KEY_MARK: Final = "~"
"""Keys of transactions that the control plane makes by itself begin so; no caller's key may."""

NOTE_LENGTH_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Posting:
    """A transaction to post. `payload` is what the caller asked for: a repeat has to ask for it."""

    key: str
    kind: EntryKind
    occurred_at_ms: int
    payload: Sequence[object]
    usage: UsageReference = NO_USAGE
    reverses: int | None = None
    note: str = ""


class Book:
    """A ledger that nobody else posts to until the transaction ends. See `open_book`."""

    def __init__(self, connection: Connection, ledger: LedgerId, now_ms: int) -> None:
        self.connection = connection
        self.ledger = ledger
        self.now_ms = now_ms
        head = _locked_head(connection, ledger)
        self._is_new = head is None
        self._number: int = 0 if head is None else head.number
        values = () if head is None else (getattr(head, name) for name in Totals._fields)
        self._totals = Totals(*values)
        if head is None:
            require_customer(connection, "customer", ledger.customer)
        self._lots: dict[int, Lot] = {} if head is None else _lots_left(connection, ledger)
        self._changed: set[int] = set()
        self._grants: dict[int, NewGrantRow] = {}
        self._posted: dict[str, tuple[Transaction, bytes]] = {}
        # Whether the balance is to be noted, also where nothing changes.
        self.is_noted = False

    @property
    def lots(self) -> list[Lot]:
        """Every grant that has something left, and those asked for by `lot`."""
        return list(self._lots.values())

    @property
    def next_number(self) -> int:
        """The number that the next transaction gets."""
        return self._number + 1

    def lot(self, grant: int) -> Lot:
        """Return a grant, also one that has nothing left. Raises NotFoundError."""
        if grant not in self._lots:
            query = select(credit_grant).where(*_of(credit_grant, self.ledger))
            row = self.connection.execute(query.where(credit_grant.c.id == grant)).one_or_none()
            if row is None:
                raise NotFoundError(f"{self.ledger} has no grant {grant}")
            self._lots[grant] = lot_from_row(row)
        return self._lots[grant]

    def known(self, key: str, payload: Sequence[object]) -> Transaction | None:
        """Return the transaction that the key is of; None where it is free.

        Raises ConflictError where that was asked for with another payload.
        """
        require_text("key", key, KEY_LENGTH_MAX)
        if not key:
            raise InvalidArgumentError("key", "is empty; a repeat is told by its key")
        found = self._find(key)
        if found is None:
            return None
        transaction, digest = found
        if digest != self._digest(payload):
            raise ConflictError(
                f"key: {key!r} is that of transaction {transaction.number} of "
                f"{transaction.ledger}, which was asked for otherwise; take another key"
            )
        return replace(transaction, is_repeated=True)

    def has(self, key: str) -> bool:
        """Whether a transaction of the customer has the key, whatever was asked for with it."""
        return self._find(key) is not None

    def transaction(self, key: str) -> Transaction:
        """Return the transaction of this ledger that has the key. Raises NotFoundError."""
        found = self._find(key)
        if found is None or found[0].ledger != self.ledger:
            raise NotFoundError(f"{self.ledger} has no transaction with key {key!r}")
        return found[0]

    def _find(self, key: str) -> tuple[Transaction, bytes] | None:
        stored = self._posted.get(key)
        return stored or find_transaction(self.connection, self.ledger.customer, key)

    def post(
        self, posting: Posting, entries: Iterable[Entry], new_grant: NewGrantRow | None = None
    ) -> Transaction:
        """Post a transaction, with the grant that it makes.

        Raises FailedPreconditionError where a grant has too little left.
        """
        require_text("note", posting.note, NOTE_LENGTH_MAX)
        entries = tuple(sorted(entries))
        amount = require_balanced(entries)
        totals = self._require_room(entries)
        if new_grant is not None:
            assert new_grant.grant.id == self.next_number, "it has the transaction's number"
            self._grants[self.next_number] = new_grant
            self._lots[self.next_number] = Lot(new_grant.grant, 0)
        for lot in self._taken(entries):
            self._put(lot)
        self._totals = totals
        self._number += 1
        transaction = Transaction(
            ledger=self.ledger,
            number=self._number,
            key=posting.key,
            kind=posting.kind,
            amount=amount,
            occurred_at_ms=posting.occurred_at_ms,
            booked_at_ms=self.now_ms,
            reverses=posting.reverses,
            usage=posting.usage,
            note=posting.note,
            entries=entries,
        )
        self._posted[posting.key] = (transaction, self._digest(posting.payload))
        return transaction

    def taken_back(self, number: int) -> list[tuple[Entry, ...]]:
        """Return the entries of what takes that transaction back so far."""
        table, entry = ledger_transaction.c, ledger_entry.c
        query = (
            select(entry.account, entry.amount)
            .join_from(
                ledger_transaction,
                ledger_entry,
                (table.customer_id == entry.customer_id)
                & (table.credit_type == entry.credit_type)
                & (table.number == entry.number),
            )
            .where(*_of(ledger_transaction, self.ledger), table.reverses == number)
        )
        stored = tuple(Entry(*row) for row in self.connection.execute(query))
        unsaved = [each for each, _ in self._posted.values() if each.reverses == number]
        return [stored, *(each.entries for each in unsaved)]

    def reserve(self, grant: int, change: int) -> None:
        """Hand out more or less of a grant."""
        lot = self.lot(grant)
        self._put(replace(lot, reserved=lot.reserved + change))

    def save(self) -> None:
        """Write what was posted."""
        posted = list(self._posted.values())
        if not posted and not self._changed:
            return
        self.is_noted = True
        self._save_head()
        if posted:
            rows = [transaction_to_row(each, digest) for each, digest in posted]
            self.connection.execute(insert(ledger_transaction), rows)
            entries = [entry_to_row(each, entry) for each, _ in posted for entry in each.entries]
            if entries:
                self.connection.execute(insert(ledger_entry), entries)
        self._save_grants()
        made = [granted(self.ledger, each, self.now_ms) for each in self._grants.values()]
        tell(self.connection, made, self.now_ms)
        self._posted, self._grants, self._changed = {}, {}, set()

    def note(self) -> None:
        """Have what the balance is now told, and credits ordered, where somebody wants that."""
        if self.is_noted:
            is_unused = not self._number
            note_balance(self.connection, self.ledger, self.lots, self.now_ms, is_unused=is_unused)

    def _digest(self, payload: Sequence[object]) -> bytes:
        asked = json.dumps([*self.ledger, *payload], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(asked.encode()).digest()

    def _require_room(self, entries: Iterable[Entry]) -> Totals:
        totals = self._totals.with_entries(entries)
        if max(totals.granted, totals.overage) > LEDGER_MICROS_MAX:
            raise FailedPreconditionError(
                f"{self.ledger} would pass {LEDGER_MICROS_MAX} micro-credits in all"
            )
        return totals

    def _taken(self, entries: Iterable[Entry]) -> list[Lot]:
        """Return the grants as they are after the entries; nothing changes yet."""
        changed = []
        for account, amount in entries:
            grant = grant_of(account)
            if grant is not None:
                lot = self.lot(grant)
                if amount < 0 and lot.free + amount < 0:
                    raise FailedPreconditionError(
                        f"grant {grant} of {self.ledger} has {lot.free} micro-credits left that "
                        f"nobody holds, not the {-amount} to be taken from it"
                    )
                changed.append(replace(lot, balance=lot.balance + amount))
        return changed

    def _put(self, lot: Lot) -> None:
        assert 0 <= lot.reserved <= lot.balance, "what is handed out is there"
        self._lots[lot.grant.id] = lot
        self._changed.add(lot.grant.id)

    def _save_head(self) -> None:
        values = {"number": self._number, **self._totals._asdict()}
        if self._is_new:
            key = {"customer_id": self.ledger.customer, "credit_type": self.ledger.credit_type}
            self.connection.execute(insert(credit_balance).values({**key, **values}))
            self._is_new = False
            return
        self.connection.execute(
            update(credit_balance).where(*_of(credit_balance, self.ledger)).values(**values)
        )

    def _save_grants(self) -> None:
        new = [
            grant_to_row(self.ledger, row, self._lots[each]) for each, row in self._grants.items()
        ]
        if new:
            self.connection.execute(insert(credit_grant), new)
        for grant in sorted(self._changed - self._grants.keys()):
            lot = self._lots[grant]
            self.connection.execute(
                update(credit_grant)
                .where(*_of(credit_grant, self.ledger), credit_grant.c.id == grant)
                .values(balance=lot.balance, reserved=lot.reserved)
            )


@contextmanager
def open_book(connection: Connection, ledger: LedgerId, now_ms: int) -> Iterator[Book]:
    """Open a ledger to post to, and write it back where nothing is raised.

    Whoever else opens it waits until the database transaction ends, or has it run again: see
    `Database.write`. Raises NotFoundError where there is no such customer.
    """
    require_id("customer", ledger.customer)
    require_id("credit_type", ledger.credit_type)
    book = Book(connection, ledger, now_ms)
    yield book
    book.save()
    book.note()


def require_callers_key(key: str) -> str:
    """Return the key. Raises InvalidArgumentError where only the control plane makes such."""
    if key.startswith(OWN_KEY_MARK):
        problem = f"{key!r} begins with {OWN_KEY_MARK}, as only the control plane's own do"
        raise InvalidArgumentError("key", problem)
    return key


def _of(table: Any, ledger: LedgerId) -> tuple[Any, Any]:
    return (
        table.c.customer_id == ledger.customer,
        table.c.credit_type == ledger.credit_type,
    )


def _locked_head(connection: Connection, ledger: LedgerId) -> Any:
    # SQLite has one writer at a time anyway, and ignores it.
    query = select(credit_balance).where(*_of(credit_balance, ledger)).with_for_update()
    return connection.execute(query).one_or_none()


def _lots_left(connection: Connection, ledger: LedgerId) -> dict[int, Lot]:
    query = select(credit_grant).where(*_of(credit_grant, ledger), credit_grant.c.balance > 0)
    return {row.id: lot_from_row(row) for row in connection.execute(query)}
