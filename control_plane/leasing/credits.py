"""Leases of credits and the ledger: what moves in one moves in the other, in one transaction.

A pool of credits is what is leased of one grant: all that was put into it is with leases, or with
holds, or presumed spent. So `available` is what came free in this transaction: it pays what was
charged, in burn order with what nobody holds, and the rest goes back to its grant.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from control_plane.crediting.book import OWN_KEY_MARK, Book, Posting, open_book
from control_plane.crediting.charging import LEASES, hand_out
from control_plane.crediting.granting import book_expiries
from control_plane.crediting.reversing import Reversal, reverse
from control_plane.crediting.rows import LedgerId, UsageReference
from control_plane.leasing.accounts import Gain, Lease, Pool
from control_plane.storage.ledger_tables import ledger_transaction
from weighbridge.rules.lease import credit_pool
from weighbridge.rules.ledger import (
    LEDGER_MICROS_MAX,
    Burn,
    EntryKind,
    Part,
    burn,
    in_burn_order,
    presume_entries,
    settle_entries,
)

_PRESUMED: Final = [each.name for each in fields(Lease)].index("presumed")


class CreditUse(NamedTuple):
    """Usage to charge: what it costs, when it was, and which entry of which record it is."""

    ledger: LedgerId
    micro: int
    at_ms: int
    usage: UsageReference
    place: int

    @property
    def key(self) -> str:
        """The key of its transaction."""
        usage = self.usage
        epoch = blake2b(f"{usage.sidecar_id} {usage.epoch}".encode(), digest_size=16).hexdigest()
        return f"{OWN_KEY_MARK}usage/{epoch}/{usage.record_number}/{self.place}"


class CreditNotes:
    """What a transaction is to post to ledgers.

    `uses` is what usage cost; `presumed_holds` is by how much more of the holds of a pool counts as
    spent.
    """

    def __init__(self) -> None:
        self.uses: list[CreditUse] = []
        self.presumed_holds: Counter[int] = Counter()

    def post(
        self,
        connection: Connection,
        pools: Iterable[Pool],
        leases_changed: Callable[[], Iterable[tuple[Lease, Sequence[Any]]]],
        now_ms: int,
    ) -> list[Gain]:
        """Post it, and what happened to leases of credits; each lease comes with what it was.

        Returns the balances that have more than before.
        """
        of_credits = {pool.id: pool for pool in pools if pool.ledger is not None}
        uses, presumed = self.uses, self.presumed_holds
        if not of_credits and not uses:
            return []
        self.uses, self.presumed_holds = [], Counter()
        for held, before in leases_changed():
            if held.pool_id in of_credits:
                presumed[held.pool_id] += held.presumed - before[_PRESUMED]
        return _post(connection, of_credits.values(), presumed, uses, now_ms)


def _post(
    connection: Connection,
    pools: Iterable[Pool],
    presumed: Counter[int],
    uses: Sequence[CreditUse],
    now_ms: int,
) -> list[Gain]:
    of: defaultdict[LedgerId, tuple[list[Pool], list[CreditUse]]]
    of = defaultdict(lambda: ([], []))
    for pool in pools:
        ledger = pool.ledger
        if ledger is not None and (pool.available or pool.overage or presumed[pool.id]):
            of[ledger][0].append(pool)
    for use in uses:
        of[use.ledger][1].append(use)
    gains = []
    for ledger, (changed, charged) in sorted(of.items()):
        with open_book(connection, ledger, now_ms) as book:
            before = spendable(book)
            _Posting(book, changed, presumed).post(charged)
            after = spendable(book)
        if after > before:
            gains.append(Gain(credit_pool(*ledger), after))
    return gains


def spendable(book: Book) -> int:
    """Return what nobody holds and can be spent now."""
    found = burn(book.lots, LEDGER_MICROS_MAX, book.now_ms)
    return sum(part.amount for part in found.parts)


class _Posting:
    """What one transaction does in one ledger."""

    def __init__(self, book: Book, pools: Sequence[Pool], presumed: Mapping[int, int]) -> None:
        self._book = book
        self._pools = {int(pool.limit_id): pool for pool in pools}
        self._presumed = presumed
        # By how much what is handed out of each grant changes.
        self._tranches: Counter[int] = Counter()

    def post(self, uses: Sequence[CreditUse]) -> None:
        """Post all of it."""
        book = self._book
        left = {grant: self._take_back(grant, pool) for grant, pool in self._pools.items()}
        free = Counter({grant: pool.available for grant, pool in self._pools.items()})
        book_expiries(book)
        for use in uses:
            self._charge(use, free)
        for grant, pool in self._pools.items():
            self._reserve(grant, -free[grant])
            # More was held than was drawn: the grant has to have it, as far as it does.
            more = min(pool.overage, book.lot(grant).free)
            self._reserve(grant, more)
            pool.overage -= more
            pool.granted_limit += more - pool.available
            pool.limit_units = pool.granted_limit
            pool.available = 0
        for grant, micro in left.items():
            if micro:
                self._presume(grant, micro)
        hand_out(book, LEASES, self._tranches)
        # What was handed out kept its grant open.
        book_expiries(book)

    def _reserve(self, grant: int, change: int) -> None:
        if change:
            self._book.reserve(grant, change)
            self._tranches[grant] += change

    def _charge(self, use: CreditUse, free: Counter[int]) -> None:
        """Charge usage, whatever there is: it took place."""
        book = self._book
        burned = burn(book.lots, use.micro, use.at_ms, free)
        parts = Counter({part.grant: part.amount for part in burned.parts})
        missing = burned.shortfall
        # What was leased could be spent, whatever a clock said of the instant.
        for lot in in_burn_order(book.lots):
            more = min(missing, free[lot.grant.id] - parts[lot.grant.id])
            if more > 0:
                parts[lot.grant.id] += more
                missing -= more
        for grant, amount in parts.items():
            own = min(amount, free[grant])
            free[grant] -= own
            self._reserve(grant, -own)
        posting = Posting(
            use.key, EntryKind.SETTLE, use.at_ms, ("usage", use.micro, use.at_ms), usage=use.usage
        )
        paid = tuple(Part(*part) for part in parts.items() if part[1])
        book.post(posting, settle_entries(Burn(paid, missing)))

    def _take_back(self, grant: int, pool: Pool) -> int:
        """Take back what is presumed of a grant; return how much is to be presumed again."""
        change = self._presumed.get(pool.id, 0)
        if not change:
            return 0
        known = self._last_presumption(grant)
        if known is None:
            return change
        key, amount = known
        book = self._book
        again = f"{OWN_KEY_MARK}known/{book.ledger.credit_type}/{book.next_number}"
        reverse(book, Reversal(again, key))
        self._reserve(grant, amount)
        return amount + change

    def _presume(self, grant: int, micro: int) -> None:
        book = self._book
        self._reserve(grant, -micro)
        key = f"{_presumption(book.ledger, grant)}{book.next_number}"
        posting = Posting(key, EntryKind.PRESUME, book.now_ms, ("presume", grant, micro))
        book.post(posting, presume_entries([Part(grant, micro)]))

    def _last_presumption(self, grant: int) -> tuple[str, int] | None:
        """Return the key and the amount of what is presumed of a grant now; None: nothing is."""
        ledger, table = self._book.ledger, ledger_transaction.c
        prefix = _presumption(ledger, grant)
        taken_back = select(table.reverses).where(
            table.customer_id == ledger.customer,
            table.credit_type == ledger.credit_type,
            table.kind == EntryKind.PRESUME_REVERSAL.value,
        )
        query = select(table.key, table.amount).where(
            table.customer_id == ledger.customer,
            table.credit_type == ledger.credit_type,
            table.kind == EntryKind.PRESUME.value,
            table.key.startswith(prefix, autoescape=True),
            table.number.not_in(taken_back),
        )
        row = self._book.connection.execute(query).one_or_none()
        return None if row is None else (row.key, row.amount)


def _presumption(ledger: LedgerId, grant: int) -> str:
    return f"{OWN_KEY_MARK}presume/{ledger.credit_type}/{grant}/"
