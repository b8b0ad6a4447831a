"""Balances of credits as a source of leases, in one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from control_plane.crediting import Book, LedgerId
from control_plane.crediting.charging import LEASES, hand_out
from control_plane.crediting.granting import book_expiries
from control_plane.leasing.accounts import CREDITS, Gain, Pool, TotalPlace
from control_plane.leasing.book import REST, LeaseBook
from control_plane.leasing.credits import spendable
from control_plane.storage.lease_tables import lease
from control_plane.storage.ledger_tables import credit_grant
from weighbridge.rules.errors import NotFoundError
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.ledger import Grant, burn


class Purse:
    """One balance, and the pools of its grants that can be spent now."""

    def __init__(self, book: Book, pools: dict[int, Pool]) -> None:
        self._book = book
        self._tranches: Counter[int] = Counter()
        self.pools = pools
        self.available = spendable(book)
        # How many hold some of it, or ask for some.
        self.sharers = 0

    @property
    def next_at_ms(self) -> int | None:
        """When a grant takes effect that was made before."""
        now_ms = self._book.now_ms
        starts = (lot.grant.effective_at_ms for lot in self._book.lots if lot.free)
        return min((start for start in starts if start > now_ms), default=None)

    def carve(self, units: int) -> list[tuple[Grant, Pool, int]]:
        """Take units, of which there are as many, in burn order; return of which grants."""
        book = self._book
        carved = []
        for part in burn(book.lots, units, book.now_ms).parts:
            book.reserve(part.grant, part.amount)
            self._tranches[part.grant] += part.amount
            pool = self.pools[part.grant]
            pool.granted_limit += part.amount
            pool.limit_units = pool.granted_limit
            carved.append((book.lot(part.grant).grant, pool, part.amount))
        self.available -= units
        return carved

    def save(self) -> None:
        """Write what was taken."""
        hand_out(self._book, LEASES, self._tranches)
        self._book.save()


def open_purses(book: LeaseBook, keys: Iterable[PoolKey], now_ms: int) -> dict[PoolKey, Purse]:
    """Return the balances that there are of these, each with a pool for each of its grants."""
    books: dict[PoolKey, Book] = {}
    for key in sorted(keys):
        try:
            ledger = Book(book.connection, LedgerId(key.customer, key.credit_type), now_ms)
        except NotFoundError:
            # The customer is not there: nobody has credits to give.
            continue
        book_expiries(ledger)
        books[key] = ledger
    if not books:
        return {}
    by_grant = {(p.place, p.limit_id): p for p in book.load_pools_at(map(_place, books))}
    new = [
        _new_pool(_place(key), lot.grant)
        for key, ledger in books.items()
        for lot in ledger.lots
        if lot.free and (_place(key), str(lot.grant.id)) not in by_grant
    ]
    if new:
        by_grant.update(((p.place, p.limit_id), p) for p in book.make_pools(new, now_ms))
    pools: defaultdict[TotalPlace, dict[int, Pool]] = defaultdict(dict)
    for (place, grant), pool in by_grant.items():
        pools[place][int(grant)] = pool
    return {key: Purse(ledger, pools[_place(key)]) for key, ledger in books.items()}


def count_sharers(connection: Connection, purses: dict[PoolKey, Purse]) -> None:
    """Count the epochs that hold some of each balance."""
    for purse in purses.values():
        epochs = select(lease.c.sidecar_id, lease.c.epoch).distinct()
        query = epochs.where(lease.c.pool_id.in_([p.id for p in purse.pools.values()]), REST > 0)
        purse.sharers = len(connection.execute(query).all())


def refilled(connection: Connection, keys: Iterable[PoolKey], now_ms: int) -> list[Gain]:
    """Return which of these balances can be spent again, whatever filled them."""
    table = credit_grant.c
    gains = []
    for key in keys:
        query = select(func.sum(table.balance - table.reserved)).where(
            table.customer_id == key.customer,
            table.credit_type == key.credit_type,
            table.balance > table.reserved,
            table.effective_at_ms <= now_ms,
            table.expires_at_ms.is_(None) | (table.expires_at_ms > now_ms),
        )
        available = int(connection.execute(query).scalar() or 0)
        if available:
            gains.append(Gain(key, available))
    return gains


def _place(key: PoolKey) -> TotalPlace:
    return TotalPlace(key.customer, "", key.credit_type, CREDITS, 0)


def _new_pool(place: TotalPlace, grant: Grant) -> Pool:
    return Pool(0, place, str(grant.id), grant.expires_at_ms, 0, 0, 0, 0, 0, 0)
