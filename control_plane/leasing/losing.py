"""Units of sidecars that stay away: they count as spent, or others may have them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, exists, select

from control_plane.leasing.accounts import NO_RECORD, Holder, HolderState, TotalPlace
from control_plane.leasing.book import LeaseBook
from control_plane.leasing.holding import HOLDERS_PER_TICK
from control_plane.storage.lease_tables import lease_hold, lease_holder
from control_plane.storage.rows import execute_rows, prepare, update_rows

HOLDS_PER_TICK: Final = 500
_HOLD: Final = ("sidecar_id", "customer_id", "reservation", "lease_id")

ReleasedOf = Callable[[Collection[TotalPlace]], Collection[TotalPlace]]
"""Which of these places have a feature whose lost leases are given to others."""


def none_released(_places: Collection[TotalPlace]) -> Collection[TotalPlace]:
    """Have everything that is lost count as spent."""
    return ()


def lose(book: LeaseBook, lost_ms: int, released_of: ReleasedOf, now_ms: int) -> bool:
    """End the wait for sidecars whose terms ran out so long ago.

    Returns whether there may be more to do.
    """
    lost = book.load_overdue(HolderState.SUSPENDED, lost_ms, HOLDERS_PER_TICK)
    for holder in lost:
        holder.state = HolderState.PRESUMED
    _lose_leases(book, lost, released_of, now_ms)
    has_more_holds = _lose_holds(book, lost_ms, released_of)
    return has_more_holds or len(lost) == HOLDERS_PER_TICK


def _lose_leases(
    book: LeaseBook, lost: Iterable[Holder], released_of: ReleasedOf, now_ms: int
) -> None:
    """Presume spent what these epochs have, or give it back, as the feature says.

    A lease that was given back has ended: what was drawn from it after all is overage.
    """
    leases = book.load_leases_of(holder.id for holder in lost)
    released = released_of({book.pools[held.pool_id].place for held in leases})
    for held in leases:
        pool = book.pools[held.pool_id]
        if pool.place not in released:
            held.presume(pool, now_ms)
            continue
        pool.give(held.return_rest())
        if held.closes_after is None:
            held.closes_after = NO_RECORD


def _lose_holds(book: LeaseBook, lost_ms: int, released_of: ReleasedOf) -> bool:
    """Do the same with holds whose deadline was so long ago, of sidecars that are lost.

    One that is there ends its holds itself. A record that comes all the same ends these too. Whose
    loss is noted in this transaction comes with the next.
    Returns whether there may be more.
    """
    holder, hold = lease_holder.c, lease_hold.c
    is_there = exists().where(
        holder.sidecar_id == hold.sidecar_id,
        holder.state.in_([HolderState.OPEN.value, HolderState.SUSPENDED.value]),
    )
    query = (
        select(lease_hold)
        .where(hold.is_presumed.is_(False), hold.expires_at_ms <= lost_ms, ~is_there)
        .order_by(hold.expires_at_ms)
        .limit(HOLDS_PER_TICK)
    )
    found = book.connection.execute(query).all()
    if not found:
        return False
    book.load_pools({row.pool_id for row in found})
    released = released_of({book.pools[row.pool_id].place for row in found})
    gone = [row for row in found if book.pools[row.pool_id].place in released]
    for row in gone:
        book.pools[row.pool_id].give(row.units)
    _delete(book, gone)
    presumed = (
        (True, *_key(row)) for row in found if book.pools[row.pool_id].place not in released
    )
    for row in found:
        if book.pools[row.pool_id].place not in released:
            book.credits.presumed_holds[row.pool_id] += row.units
    update_rows(book.connection, lease_hold, ("is_presumed",), _HOLD, presumed)
    return len(found) == HOLDS_PER_TICK


def _delete(book: LeaseBook, rows: Iterable[Row[Any]]) -> None:
    is_row = [lease_hold.c[name] == bindparam(name) for name in _HOLD]
    statement = prepare(book.connection.dialect, delete(lease_hold).where(*is_row), _HOLD)
    execute_rows(book.connection, statement, map(_key, rows))


def _key(row: Row[Any]) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _HOLD)
