"""Begins epochs: who runs, after whom, from which sequence on."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from sidecar.journal import database
from sidecar.journal.directory import IDENTITY_BYTES, DataDirectory
from sidecar.journal.epoch import EpochRow, EpochState


class PreviousRun(NamedTuple):
    """What the last epoch left. Without one, there is nothing that could have gone wrong."""

    boot_id: str
    stopped_cleanly: bool


def previous_run(epochs: Sequence[EpochState]) -> PreviousRun:
    """Return what the last epoch says of itself."""
    if not epochs:
        return PreviousRun("", stopped_cleanly=True)
    row = epochs[-1].row
    return PreviousRun(row.boot_id, bool(row.stopped_cleanly))


def drop_empty_epochs(
    connection: sqlite3.Connection, epochs: Sequence[EpochState], now_ms: int
) -> list[EpochState]:
    """Remove epochs that wrote nothing or of which nothing is left; number those that stay.

    Only the oldest of those that wrote something: where an epoch ends is where the next begins.
    """
    kept: list[EpochState] = []
    for epoch in epochs:
        if epoch.last_number == 0 or (epoch.is_pruned and not kept):
            database.remove_epoch(connection, epoch.row.key)
        else:
            epoch.index = len(kept)
            epoch.note_settled(now_ms)
            kept.append(epoch)
    return kept


def begin_epoch(
    connection: sqlite3.Connection,
    directory: DataDirectory,
    epochs: Sequence[EpochState],
    boot_id: str,
    now_ms: int,
) -> EpochState:
    """Begin an epoch after all others; it is on the disk itself when this returns."""
    identity = directory.identity
    last = epochs[-1] if epochs else None
    predecessors = [e.row.epoch for e in epochs if e.row.sidecar_id == identity.sidecar_id]
    row = EpochRow(
        key=last.row.key + 1 if last else 1,
        sidecar_id=identity.sidecar_id,
        epoch=secrets.token_hex(IDENTITY_BYTES),
        # The identity's own file names it too, for when nothing of the journal can be read.
        predecessor=predecessors[-1] if predecessors else identity.epoch,
        boot_id=boot_id,
        base=last.row.base + last.last_number if last else 0,
        started_at_ms=now_ms,
        settled_number=0,
        stopped_cleanly=0,
    )
    with database.synced(connection):
        database.write_epoch(connection, row)
    database.empty_log(connection)
    directory.keep_epoch(row.epoch)
    return EpochState(last.index + 1 if last else 0, row, 1, 0)
