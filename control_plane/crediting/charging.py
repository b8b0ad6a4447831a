"""Charges: credits are spent, in burn order at the time of use; and parts of grants handed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from control_plane.crediting.book import Book, Posting
from control_plane.crediting.granting import book_expiries, require_micro
from control_plane.crediting.rows import NO_USAGE, LedgerId, Transaction, UsageReference
from control_plane.provisioning.checks import require_instant
from control_plane.storage.ledger_tables import credit_tranche
from weighbridge.rules.credits import MICRO_MAX
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.rules.ledger import (
    Burn,
    EntryKind,
    Part,
    burn,
    in_burn_order,
    presume_entries,
    settle_entries,
)
from weighbridge.rules.units import (
    COUNTER_MAX,
    KEY_LENGTH_MAX,
    require_id,
    require_optional_id,
    require_text,
)

LEASES: Final = "leases"
"""The holder of all that is leased to sidecars: which of them has it, their leases say."""

AHEAD_MS_MAX: Final = 24 * 3_600_000
"""How far ahead of this clock a time of use may lie; past that, a clock is wrong."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Usage to charge. Not `at_ms`: used now.

    What grants cannot pay posts as overage, at most `overage_max`; None: whatever it is. `holder`
    names whose tranches pay as well, each where its grant comes in the burn order.
    """

    key: str
    amount: int
    at_ms: int | None = None
    overage_max: int | None = 0
    holder: str = ""
    usage: UsageReference = NO_USAGE
    note: str = ""


def charge(book: Book, wanted: Charge) -> Transaction:
    """Charge usage. Asked for again with the same key: the first is returned.

    A refusal binds no key. Raises FailedPreconditionError where credits do not suffice,
    InvalidArgumentError naming the field, ConflictError where the key is that of something else.
    """
    payload = _payload(wanted)
    known = book.known(wanted.key, payload)
    if known is not None:
        return known
    _require_sound(wanted, book.now_ms)
    at_ms = book.now_ms if wanted.at_ms is None else wanted.at_ms
    book_expiries(book)
    own = held_by(book, wanted.holder) if wanted.holder else Counter()
    burned = burn(book.lots, wanted.amount, at_ms, own)
    if wanted.overage_max is not None and burned.shortfall > wanted.overage_max:
        raise FailedPreconditionError(
            f"{book.ledger} lacks {burned.shortfall - wanted.overage_max} of the "
            f"{wanted.amount} micro-credits to charge; grant more, or allow overage"
        )
    _give_back_spent(book, wanted.holder, own, burned)
    posting = Posting(
        wanted.key, EntryKind.SETTLE, at_ms, payload, usage=wanted.usage, note=wanted.note
    )
    return book.post(posting, settle_entries(burned))


def carve(book: Book, holder: str, amount: int, at_ms: int) -> Burn:
    """Hand out what can be spent at that instant, at most an amount, in burn order.

    The shortfall is what there was not. Nothing is posted: what is handed out can't be spent by
    others, and its grants do not expire before it is given back, charged or presumed.
    """
    require_id("holder", holder)
    require_micro("amount", amount)
    book_expiries(book)
    carved = burn(book.lots, amount, at_ms)
    _change_tranches(book, holder, {part.grant: part.amount for part in carved.parts})
    return carved


def give_back(book: Book, holder: str, amount: int) -> None:
    """Take back what was handed out to a holder: what burns last first.

    Raises FailedPreconditionError where the holder has less.
    """
    own = held_by(book, holder)
    if amount > own.total():
        raise FailedPreconditionError(f"{holder!r} holds {own.total()} micro-credits, not {amount}")
    _change_tranches(book, holder, _last_of(book, own, amount))


def presume(book: Book, key: str, holder: str, at_ms: int) -> Transaction:
    """Count all that a holder has as spent, until that is known. `reverse` takes it back."""
    payload = ("presume", holder, at_ms)
    known = book.known(key, payload)
    if known is not None:
        return known
    own = held_by(book, holder)
    _change_tranches(book, holder, {grant: -amount for grant, amount in own.items()})
    parts = [Part(grant, amount) for grant, amount in sorted(own.items())]
    posting = Posting(key, EntryKind.PRESUME, at_ms, payload)
    return book.post(posting, presume_entries(parts))


def hand_out(book: Book, holder: str, changes: Mapping[int, int]) -> None:
    """Note what a holder has more or less of each grant; the grants know already."""
    own = held_by(book, holder) if any(changes.values()) else Counter()
    for grant, change in sorted(changes.items()):
        if change:
            before = own[grant]
            _store_tranche(book.connection, book.ledger, holder, grant, before, before + change)


def held_by(book: Book, holder: str) -> Counter[int]:
    """Return what of each grant is handed out to a holder."""
    table = credit_tranche.c
    query = select(table.grant_id, table.amount).where(*_tranches(book.ledger, holder))
    return Counter({row.grant_id: row.amount for row in book.connection.execute(query)})


def _give_back_spent(book: Book, holder: str, own: Counter[int], burned: Burn) -> None:
    """Take from a holder's tranches what its charge took, wherever that came from."""
    changes: Counter[int] = Counter()
    elsewhere = 0
    for part in burned.parts:
        taken = min(part.amount, own[part.grant])
        changes[part.grant] -= taken
        elsewhere += part.amount - taken
    rest = Counter({grant: amount + changes[grant] for grant, amount in own.items()})
    for grant, change in _last_of(book, rest, min(elsewhere, rest.total())).items():
        changes[grant] += change
    _change_tranches(book, holder, {grant: change for grant, change in changes.items() if change})


def _last_of(book: Book, own: Counter[int], amount: int) -> dict[int, int]:
    changes = {}
    lots = [book.lot(grant) for grant in own]
    for lot in reversed(in_burn_order(lots)):
        taken = min(amount, own[lot.grant.id])
        if taken:
            changes[lot.grant.id] = -taken
            amount -= taken
    return changes


def _change_tranches(book: Book, holder: str, changes: dict[int, int]) -> None:
    own = held_by(book, holder) if changes else Counter()
    for grant, change in sorted(changes.items()):
        book.reserve(grant, change)
        _store_tranche(book.connection, book.ledger, holder, grant, own[grant], own[grant] + change)


def _store_tranche(
    connection: Connection, ledger: LedgerId, holder: str, grant: int, before: int, after: int
) -> None:
    is_it = (*_tranches(ledger, holder), credit_tranche.c.grant_id == grant)
    if not after:
        connection.execute(delete(credit_tranche).where(*is_it))
    elif before:
        connection.execute(update(credit_tranche).where(*is_it).values(amount=after))
    else:
        row = (holder, *ledger, grant, after)
        connection.execute(insert(credit_tranche).values(row))


def _tranches(ledger: LedgerId, holder: str) -> tuple[ColumnElement[bool], ...]:
    table = credit_tranche.c
    return (
        table.holder == holder,
        table.customer_id == ledger.customer,
        table.credit_type == ledger.credit_type,
    )


def _payload(wanted: Charge) -> tuple[object, ...]:
    return (
        "charge",
        wanted.amount,
        wanted.at_ms,
        wanted.overage_max,
        wanted.holder,
        wanted.usage,
    )


def _require_sound(wanted: Charge, now_ms: int) -> None:
    require_micro("amount", wanted.amount, least=0)
    if wanted.at_ms is not None:
        require_instant("at_unix_ms", wanted.at_ms)
        if wanted.at_ms > now_ms + AHEAD_MS_MAX:
            raise InvalidArgumentError("at_unix_ms", f"{wanted.at_ms} is more than a day ahead")
    if wanted.overage_max is not None and not 0 <= wanted.overage_max <= MICRO_MAX:
        raise InvalidArgumentError(
            "overage_max_micro", f"{wanted.overage_max} is not 0 to {MICRO_MAX}"
        )
    usage = wanted.usage
    require_text("usage.event_key", usage.event_key, KEY_LENGTH_MAX)
    require_optional_id("usage.sidecar_id", usage.sidecar_id)
    require_optional_id("usage.epoch", usage.epoch)
    if not 0 <= usage.record_number <= COUNTER_MAX:
        raise InvalidArgumentError("usage.record_number", f"{usage.record_number} is no number")
