"""What need not be done before an answer, on a thread of its own: syncs, checkpoints, pruning."""

from __future__ import annotations

import os
import threading
from typing import Final

from sidecar.journal import database
from sidecar.journal.directory import DataDirectory
from sidecar.journal.durable import DurableMark
from sidecar.journal.epoch import EpochState
from sidecar.journal.problems import ProblemKind
from sidecar.journal.settings import JournalSettings
from sidecar.journal.state import JournalState

_IDLE_INTERVAL_MS: Final = 1000
_SLICE_RECORDS: Final = 128
_SLICE_BYTES: Final = 1 << 20
_SLICES_MAX: Final = 64
_LOG_LENGTHS_MAX: Final = 4
_FULL_SHARE: Final = 0.75


class Upkeep:
    """Runs a round at each interval, on a connection of its own."""

    def __init__(
        self,
        directory: DataDirectory,
        settings: JournalSettings,
        state: JournalState,
        durable: DurableMark,
    ) -> None:
        self._settings = settings
        self._state = state
        self._durable = durable
        self._problems = directory.problems
        path = directory.path / database.FILE
        self._connection = database.connect(path, "NORMAL")
        self._connection.execute("PRAGMA busy_timeout = 50").fetchall()
        self._log_fd = os.open(directory.path / database.LOG_FILE, os.O_RDONLY | os.O_CLOEXEC)
        self._round_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-upkeep", daemon=True)

    def start(self) -> None:
        """Begin to run rounds."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the round it is in, and close the connection."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._connection.close()
        if self._log_fd >= 0:
            os.close(self._log_fd)
            self._log_fd = -1

    def run_round(self) -> None:
        """Do all there is to do. A failure is reported, and tried again in the next round."""
        with self._round_lock:
            try:
                self._sync()
            except OSError as error:
                # What the kernel could not write it may have dropped: only a re-read can tell.
                self._state.fail(f"the journal could not be synced: {error.strerror or error}")
                self._problems.report(ProblemKind.WRITE_FAILED, self._state.failure)
                return
            try:
                self._keep_settled()
                self._checkpoint()
                self._prune()
                self._measure()
            except database.DATABASE_ERRORS as error:
                if database.is_corrupt(error):
                    self._state.fail(f"the journal is damaged: {error}", damage=str(error))
                self._problems.report(ProblemKind.UPKEEP_FAILED, f"journal upkeep: {error}")

    def _run(self) -> None:
        interval_ms = self._settings.fsync_interval_ms or _IDLE_INTERVAL_MS
        while not self._stop.wait(interval_ms / 1000):
            if self._state.failure:
                continue
            try:
                self.run_round()
            except Exception as error:
                # A defect; but appends without upkeep would never be synced, nor the log moved.
                self._state.fail(f"the journal's upkeep ended: {error!r}")
                raise

    def _sync(self) -> None:
        current = self._state.current
        number = current.last_number
        if (current.row.epoch, number) == (self._durable.epoch, self._durable.number):
            return
        os.fdatasync(self._log_fd)
        self._durable.advance(current.row.epoch, number)

    def _keep_settled(self) -> None:
        with self._state.lock:
            changed = [epoch for epoch in self._state.epochs if epoch.is_dirty]
            if not changed:
                return
            with database.transaction(self._connection):
                for epoch in changed:
                    self._write_settled(epoch)
            for epoch in changed:
                epoch.kept()
            self._state.log_bytes += 2 * database.FRAME_BYTES

    def _write_settled(self, epoch: EpochState) -> None:
        key = epoch.row.key
        database.write_epoch(
            self._connection, epoch.row._replace(settled_number=epoch.settled_number)
        )
        if epoch.is_history_cut:
            self._connection.execute("DELETE FROM settled_minute WHERE epoch_key = ?", (key,))
            minutes = list(epoch.settled_minutes.items())
        else:
            minutes = list(epoch.settled_minutes.items())[-1:]
        self._connection.executemany(
            "INSERT OR REPLACE INTO settled_minute VALUES (?, ?, ?)",
            [(key, minute, number) for minute, number in minutes],
        )

    def _checkpoint(self) -> None:
        state, settings = self._state, self._settings
        if state.log_bytes < settings.write_ahead_bytes:
            return
        # Neither of these holds up appends; the second has little left to move.
        if self._move_log("PASSIVE") or self._move_log("PASSIVE"):
            with state.lock:
                self._begin_log_anew()
        elif state.log_bytes >= settings.write_ahead_bytes * _LOG_LENGTHS_MAX:
            with state.lock:
                if self._move_log("RESTART"):
                    self._begin_log_anew()

    def _move_log(self, mode: str) -> bool:
        """Move the log into the database; return whether all of it is moved."""
        moving = self._connection.execute(f"PRAGMA wal_checkpoint({mode})")
        is_busy, frames, moved = moving.fetchone()
        moving.close()
        self._state.log_bytes = frames * database.FRAME_BYTES
        return not is_busy and bool(frames == moved)

    def _begin_log_anew(self) -> None:
        """Write something: the first write to a log that was moved syncs its new head.

        Without this the owner's next append would do so.
        """
        self._connection.execute("UPDATE upkeep SET rounds = rounds + 1 WHERE id = 1")
        self._state.log_bytes = database.FRAME_BYTES

    def _prune(self) -> None:
        state, settings = self._state, self._settings
        now_ms, state.prune_now_ms = state.prune_now_ms, None
        if now_ms is None and not self._excess_bytes():
            return
        newest_ms = max(state.written_at_ms, now_ms or 0)
        unread = database.last_written_before(
            self._connection, newest_ms - settings.keep_answers_ms
        )
        slices = _SLICES_MAX
        for epoch in tuple(state.epochs):
            due = 0 if now_ms is None else epoch.prunable_number(now_ms - settings.keep_settled_ms)
            slices -= self._prune_epoch(epoch, due, unread - epoch.row.base, slices)
            if slices <= 0:
                # The rest in the next round.
                state.prune_now_ms = now_ms
                return
        self._remove_pruned_epochs()

    def _excess_bytes(self) -> int:
        """Return what is used beyond the share from which settled records go early."""
        return max(0, self._state.bytes_used - int(self._settings.bytes_max * _FULL_SHARE))

    def _prune_epoch(self, epoch: EpochState, due: int, unread: int, slices_max: int) -> int:
        """Delete records up to `due`, or as long as room is short; return the slices it took."""
        for used in range(slices_max):
            with self._state.lock:
                # What is settled on disk, so that no kill brings back a mark below what is gone.
                settled = min(epoch.row.settled_number, epoch.settled_number)
                limit = min(settled if self._excess_bytes() else due, settled, unread)
                if epoch.first_number > limit:
                    return used
                self._delete_slice(epoch, limit)
                self._state.bytes_used = database.used_bytes(self._connection)
        return slices_max

    def _delete_slice(self, epoch: EpochState, limit: int) -> None:
        base = epoch.row.base
        until = database.delete_records(
            self._connection,
            base + epoch.first_number,
            base + limit,
            _SLICE_RECORDS,
            min(self._excess_bytes() or _SLICE_BYTES, _SLICE_BYTES),
        )
        epoch.first_number = (until - base if until else limit) + 1
        epoch.forget_minutes()
        self._state.log_bytes += _SLICE_RECORDS * database.FRAME_BYTES // 4

    def _remove_pruned_epochs(self) -> None:
        """Remove the oldest epochs of which nothing is left.

        Only the oldest: where an epoch ends is where the next one begins.
        """
        state = self._state
        with state.lock:
            while len(state.epochs) > 1 and state.epochs[0].is_pruned:
                database.remove_epoch(self._connection, state.epochs.pop(0).row.key)

    def _measure(self) -> None:
        with self._state.lock:
            self._state.bytes_used = database.used_bytes(self._connection)
