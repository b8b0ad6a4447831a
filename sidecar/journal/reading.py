"""Reads records back, across epochs, verifying each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from sidecar.journal import database
from sidecar.journal.database import CorruptError
from sidecar.journal.epoch import EpochState
from sidecar.journal.record import Position, Row, StoredRecord, is_sound


def read_unsettled(
    connection: sqlite3.Connection,
    epochs: Iterable[EpochState],
    after: Position,
    limit_records: int,
    limit_bytes: int,
) -> list[StoredRecord]:
    """Return the first records after a position that are not settled, from one epoch.

    Numbers that have no record any more come as records that are lost.
    """
    for epoch in epochs:
        first = epoch.settled_number + 1
        if epoch.index == after[0]:
            first = max(first, after[1] + 1)
        if epoch.index < after[0] or first > epoch.last_number:
            continue
        rows = _read_rows(connection, epoch, first, limit_records, limit_bytes)
        last = min(epoch.last_number, first + limit_records - 1)
        return _without_gaps(epoch, rows, first, last)
    return []


def read_kept(
    connection: sqlite3.Connection,
    epochs: Iterable[EpochState],
    after: Position,
    limit_records: int,
    limit_bytes: int,
) -> list[StoredRecord]:
    """Return the first records after a position, settled or not, from one epoch."""
    for epoch in epochs:
        first = after[1] + 1 if epoch.index == after[0] else 1
        if epoch.index < after[0] or first > epoch.last_number:
            continue
        rows = _read_rows(connection, epoch, first, limit_records, limit_bytes)
        if rows:
            return [_stored(epoch, row) for row in rows]
    return []


def read_one(
    connection: sqlite3.Connection, epochs: Iterable[EpochState], position: Position
) -> StoredRecord | None:
    """Return the record at a position; None where there is none."""
    index, number = position
    for epoch in epochs:
        if epoch.index == index and 1 <= number <= epoch.last_number:
            rows = _read_rows(connection, epoch, number, 1, 0)
            if rows and rows[0].sequence == epoch.row.base + number:
                return _stored(epoch, rows[0])
    return None


def position_of(epochs: Sequence[EpochState], sequence: int) -> Position:
    """Return the position of a sequence, or the one before the first record."""
    for epoch in reversed(epochs):
        if epoch.row.base <= sequence:
            return epoch.index, min(sequence - epoch.row.base, epoch.last_number)
    return epochs[0].index, 0


def _read_rows(
    connection: sqlite3.Connection,
    epoch: EpochState,
    first: int,
    limit_records: int,
    limit_bytes: int,
) -> list[Row]:
    base = epoch.row.base
    rows = database.read_records(
        connection, base + first, base + epoch.last_number, limit_records, limit_bytes
    )
    for row in rows:
        if not is_sound(row, epoch.seed, row.sequence - base):
            raise CorruptError(
                f"record {row.sequence - base} of epoch {epoch.row.epoch} is damaged"
            )
    return rows


def _without_gaps(epoch: EpochState, rows: list[Row], first: int, last: int) -> list[StoredRecord]:
    """Put a lost record wherever a number has none; where nothing is left, up to `last`."""
    found: list[StoredRecord] = []
    expected = first
    for row in rows:
        number = row.sequence - epoch.row.base
        found.extend(_lost(epoch, missing) for missing in range(expected, min(number, last + 1)))
        if number > last:
            return found
        found.append(_stored(epoch, row))
        expected = number + 1
    if not rows:
        found.extend(_lost(epoch, missing) for missing in range(first, last + 1))
    return found


def _stored(epoch: EpochState, row: Row) -> StoredRecord:
    number = row.sequence - epoch.row.base
    return StoredRecord(
        sidecar_id=epoch.row.sidecar_id,
        epoch=epoch.row.epoch,
        epoch_index=epoch.index,
        number=number,
        digest=row.digest,
        payload=row.payload,
        written_at_ms=row.written_at_ms,
        is_settled=number <= epoch.settled_number,
        is_lost=False,
    )


def _lost(epoch: EpochState, number: int) -> StoredRecord:
    return StoredRecord(
        sidecar_id=epoch.row.sidecar_id,
        epoch=epoch.row.epoch,
        epoch_index=epoch.index,
        number=number,
        digest=b"",
        payload=b"",
        written_at_ms=0,
        is_settled=False,
        is_lost=True,
    )
