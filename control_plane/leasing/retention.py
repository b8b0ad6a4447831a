"""How long pools, leases and holders are kept once nothing can be given or spent any more."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, exists, select, tuple_

from control_plane.leasing.accounts import CREDITS, HolderState
from control_plane.storage.lease_tables import lease, lease_hold, lease_holder, lease_pool

KEPT_MS: Final = 48 * 3_600_000
"""Longer than holds last, and records are on their way; usage that comes later settles as well."""

ROWS_MAX: Final = 2_000


def prune_leases(connection: Connection, now_ms: int) -> int:
    """Remove at most a few thousand rows whose time is over; return how many went."""
    before_ms = now_ms - KEPT_MS
    return (
        _prune_pools(connection, before_ms)
        + _prune_leases(connection, before_ms)
        + _prune_holders(connection, before_ms)
    )


def _prune_pools(connection: Connection, before_ms: int) -> int:
    """Remove pools of windows that ended, whatever was left in their leases."""
    pool = lease_pool.c
    # What is leased of credits is the customer's until it is known what became of it.
    is_let_go = (pool.window_key != CREDITS) | (pool.granted_limit == 0)
    ended = select(pool.id).where(pool.window_end_ms <= before_ms, is_let_go)
    ids = connection.scalars(ended.order_by(pool.window_end_ms).limit(ROWS_MAX // 4)).all()
    if not ids:
        return 0
    connection.execute(delete(lease_hold).where(lease_hold.c.pool_id.in_(ids)))
    leases = connection.execute(delete(lease).where(lease.c.pool_id.in_(ids))).rowcount
    return leases + connection.execute(delete(lease_pool).where(pool.id.in_(ids))).rowcount


def _prune_leases(connection: Connection, before_ms: int) -> int:
    """Remove leases that ended and have nothing left. What is presumed spent stays."""
    held, holder = lease.c, lease_holder.c
    is_of = (holder.sidecar_id == held.sidecar_id) & (holder.epoch == held.epoch)
    is_closed = exists().where(is_of, holder.state == HolderState.CLOSED.value)
    spent = (
        select(held.id)
        .where(
            held.updated_at_ms <= before_ms,
            held.granted == held.returned + held.drawn,
            held.closes_after.is_not(None) | is_closed,
        )
        .limit(ROWS_MAX)
    )
    return connection.execute(delete(lease).where(held.id.in_(spent))).rowcount


def _prune_holders(connection: Connection, before_ms: int) -> int:
    """Remove epochs that have no leases any more."""
    held, holder = lease.c, lease_holder.c
    is_of = (holder.sidecar_id == held.sidecar_id) & (holder.epoch == held.epoch)
    idle = (
        select(holder.sidecar_id, holder.epoch)
        .where(holder.seen_at_ms <= before_ms, ~exists().where(is_of))
        .limit(ROWS_MAX // 4)
    )
    ids = [tuple(row) for row in connection.execute(idle)]
    if not ids:
        return 0
    gone = tuple_(holder.sidecar_id, holder.epoch).in_(ids)
    return connection.execute(delete(lease_holder).where(gone)).rowcount
