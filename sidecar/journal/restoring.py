"""Makes a journal that was read again agree with what was acknowledged before."""

from __future__ import annotations

from sidecar.journal import database
from sidecar.journal.directory import DataDirectory
from sidecar.journal.loading import Loaded
from sidecar.journal.problems import ProblemKind
from sidecar.journal.state import JournalState


def restore(directory: DataDirectory, state: JournalState, loaded: Loaded) -> None:
    """Correct the disk by what is in memory, and see that it can be written.

    Raises sqlite3.Error where it cannot.
    """
    connection = loaded.connection
    current = state.current
    last_sequence = current.row.base + current.last_number
    known = {epoch.row.key for epoch in loaded.epochs}
    with database.transaction(connection):
        for epoch in state.epochs:
            if epoch.row.key not in known:
                database.write_epoch(connection, epoch.row)
            epoch.is_dirty = epoch.is_history_cut = True
        # What an append or a new epoch left behind although it was told to have failed.
        database.delete_after(connection, current.row.key, last_sequence)
    if loaded.last_sequence < last_sequence:
        directory.problems.report(
            ProblemKind.LOST_RECORDS,
            f"{directory.path}: lost the last {last_sequence - loaded.last_sequence} records "
            f"of epoch {current.row.epoch}, which had not been synced",
        )
    database.empty_log(connection)
    state.log_bytes = 0
    state.bytes_used = database.used_bytes(connection)
