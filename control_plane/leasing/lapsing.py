"""What comes back to pools of rolling windows by itself: units leave one window after their use.

What is presumed spent comes back as if it had been spent when it was presumed, and what a lost hold
had as if it had been spent at the hold's deadline.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, select

from control_plane.leasing.book import LeaseBook
from control_plane.storage.lease_tables import lease_hold
from control_plane.storage.rows import execute_rows, prepare

ROWS_PER_TICK: Final = 500
_HOLD: Final = ("sidecar_id", "customer_id", "reservation", "lease_id")


def roll(book: LeaseBook, now_ms: int, lost_after_ms: int) -> bool:
    """Take back what has left rolling windows, or would have by now, had it been spent.

    Returns whether there may be more.
    """
    leaving = book.load_leaving(now_ms, ROWS_PER_TICK)
    book.buckets.load(leaving, now_ms)
    for pool in leaving:
        pool.settle_rolling(book.buckets.of(pool), 0)
    lapsing = book.load_lapsing(now_ms, ROWS_PER_TICK)
    for lease in lapsing:
        book.pools[lease.pool_id].give(lease.lapse())
    holds = _lapse_holds(book, now_ms - lost_after_ms)
    return ROWS_PER_TICK in (len(leaving), len(lapsing), holds)


def _lapse_holds(book: LeaseBook, lapsed_ms: int) -> int:
    """Give back what holds had that lapsed by an instant; return how many did.

    Whoever holds them was not heard of since. What was used of them has left the window.
    """
    query = (
        select(lease_hold)
        .where(lease_hold.c.lapses_at_ms <= lapsed_ms)
        .order_by(lease_hold.c.lapses_at_ms)
        .limit(ROWS_PER_TICK)
    )
    found = book.connection.execute(query).all()
    book.load_pools({row.pool_id for row in found})
    for row in found:
        book.pools[row.pool_id].give(row.units)
    keys = [tuple(getattr(row, name) for name in _HOLD) for row in found]
    is_row = [lease_hold.c[name] == bindparam(name) for name in _HOLD]
    statement = prepare(book.connection.dialect, delete(lease_hold).where(*is_row), _HOLD)
    execute_rows(book.connection, statement, keys)
    return len(found)
