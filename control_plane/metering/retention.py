"""What is kept for a time only: fleet-wide keys, and digests of records settled long ago."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, case, delete, exists, func, select

from control_plane.storage.tables import usage_epoch, usage_key, usage_record

DIGESTS_PER_EPOCH: Final = 100_000
"""Digests kept of each epoch: far more than a sidecar has on its way at once."""

_DAY_MS: Final = 24 * 3_600_000
DEAD_AFTER_MS: Final = 7 * _DAY_MS
"""A sidecar keeps what was acknowledged for 24 hours: after this, an epoch repeats nothing."""

LOOKED_AT_MS: Final = 60 * _DAY_MS
"""Epochs not seen for longer have nothing left to prune."""

EPOCHS_MAX: Final = 20
ROWS_MAX: Final = 5_000


def prune(connection: Connection, now_ms: int) -> int:
    """Remove at most a few thousand rows whose time is over; return how many went.

    Marks of epochs stay for good: they are what keeps a late resend from settling twice.
    """
    return _prune_keys(connection, now_ms) + _prune_digests(connection, now_ms)


def _prune_keys(connection: Connection, now_ms: int) -> int:
    table = usage_key.c
    expired = (
        select(table.expires_at_ms)
        .where(table.expires_at_ms <= now_ms)
        .order_by(table.expires_at_ms)
        .limit(ROWS_MAX)
    )
    # Up to the last one of the page, so that every row of one instant goes together.
    instants = connection.scalars(expired).all()
    if not instants:
        return 0
    return connection.execute(delete(usage_key).where(table.expires_at_ms <= instants[-1])).rowcount


def _prune_digests(connection: Connection, now_ms: int) -> int:
    epoch = usage_epoch.c
    record = usage_record.c
    keep_above = case(
        (epoch.seen_at_ms <= now_ms - DEAD_AFTER_MS, epoch.number),
        else_=epoch.number - DIGESTS_PER_EPOCH,
    )
    own = (record.sidecar_id == epoch.sidecar_id) & (record.epoch == epoch.epoch)
    surplus = (
        select(epoch.sidecar_id, epoch.epoch, keep_above.label("keep_above"))
        .where(
            epoch.seen_at_ms > now_ms - LOOKED_AT_MS,
            exists().where(own, record.number <= keep_above),
        )
        .limit(EPOCHS_MAX)
    )
    return sum(_prune_epoch(connection, *row) for row in connection.execute(surplus).all())


def _prune_epoch(connection: Connection, sidecar_id: str, epoch: str, keep_above: int) -> int:
    record = usage_record.c
    own = (record.sidecar_id == sidecar_id) & (record.epoch == epoch)
    first: int | None = connection.execute(select(func.min(record.number)).where(own)).scalar_one()
    if first is None:
        return 0
    last = min(keep_above, first + ROWS_MAX - 1)
    return connection.execute(delete(usage_record).where(own, record.number <= last)).rowcount
