"""Opens the journal's database: what is sound is loaded, what is not is set aside and reported."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import Final, NamedTuple

from sidecar.journal import database
from sidecar.journal.database import CorruptError
from sidecar.journal.directory import DataDirectory
from sidecar.journal.durable import DurableMark
from sidecar.journal.epoch import EpochRow, EpochState
from sidecar.journal.problems import ProblemKind
from sidecar.journal.record import is_sound
from sidecar.journal.salvage import finish_rebuild, rebuild
from sidecar.journal.write_ahead import inspect_log
from weighbridge.rules.errors import FailedPreconditionError

_GAPS_NAMED_MAX: Final = 10


class Loaded(NamedTuple):
    """An open database, and the epochs in it, oldest first."""

    connection: sqlite3.Connection
    epochs: list[EpochState]
    last_sequence: int
    written_at_ms: int


def load(
    directory: DataDirectory, durable: DurableMark, synchronous: str, now_ms: int, damage: str = ""
) -> Loaded:
    """Open the journal and verify every record that is not settled.

    `damage`: why it is known to be damaged. Raises sqlite3.Error and OSError where the disk fails,
    FailedPreconditionError where a later release wrote the files.
    """
    finish_rebuild(directory, now_ms)
    damage = damage or _inspect(directory, now_ms)
    if not damage:
        try:
            return _Loading(directory, durable, synchronous).load()
        except CorruptError as error:
            damage = str(error)
    rebuild(directory, damage, now_ms)
    return _Loading(directory, durable, synchronous).load()


def _inspect(directory: DataDirectory, now_ms: int) -> str:
    """Return what is wrong with the write-ahead log, if anything; keep a torn end aside."""
    path = directory.path / database.LOG_FILE
    log = inspect_log(path)
    if log.is_header_damaged:
        return "the head of the write-ahead log does not verify"
    if log.is_damaged:
        return f"{log.damaged_frames} frames of the write-ahead log do not verify"
    if log.is_torn:
        target = directory.free_name(f"{database.LOG_FILE}-tail", now_ms)
        with path.open("rb") as file:
            file.seek(log.sound_bytes)
            target.write_bytes(file.read(database.FRAME_BYTES))
        directory.problems.report(
            ProblemKind.TORN_TAIL,
            f"{path}: the last write is incomplete or damaged and was not taken in; "
            f"it is kept as {target.name}",
        )
    return ""


class _Loading:
    """One attempt to load."""

    def __init__(self, directory: DataDirectory, durable: DurableMark, synchronous: str) -> None:
        self._directory = directory
        self._durable = durable
        self._synchronous = synchronous

    def load(self) -> Loaded:
        """Open and verify. Raises CorruptError where the files are damaged."""
        path = self._directory.path / database.FILE
        try:
            connection = database.connect(path, self._synchronous)
        except database.DATABASE_ERRORS as error:
            raise _translated(error) from error
        try:
            self._require_version(connection)
            epochs, last_sequence = self._read_epochs(connection)
            written_at_ms = self._verify(connection, epochs)
        except database.DATABASE_ERRORS as error:
            connection.close()
            raise _translated(error) from error
        except BaseException:
            connection.close()
            raise
        return Loaded(connection, epochs, last_sequence, written_at_ms)

    def _require_version(self, connection: sqlite3.Connection) -> None:
        version = database.require_schema(connection)
        if database.is_newer(version):
            raise FailedPreconditionError(
                f"data directory {self._directory.path}: the journal was written by a later "
                f"release (format {version}); start that release, or give this one a directory of "
                "its own"
            )

    def _read_epochs(self, connection: sqlite3.Connection) -> tuple[list[EpochState], int]:
        rows = database.read_epochs(connection)
        _, last_sequence = database.sequence_bounds(connection)
        lasts = [following.base - row.base for row, following in pairwise(rows)]
        if rows:
            lasts.append(self._last_number(rows[-1], last_sequence))
        elif last_sequence:
            raise CorruptError("it has records of no epoch")
        if self._durable.number and self._durable.epoch not in {row.epoch for row in rows}:
            self._report_lost(f"all records of epoch {self._durable.epoch}, if they were kept")
        states = []
        for index, (row, last) in enumerate(zip(rows, lasts, strict=True)):
            first = database.first_sequence_in(connection, row.base + 1, row.base + last)
            settled = min(row.settled_number, last)
            first_number = min(first - row.base, settled + 1) if first else settled + 1
            state = EpochState(index, row, first_number, last)
            state.settled_number = settled
            state.settled_minutes = database.read_settled_minutes(connection, row.key)
            states.append(state)
        return states, max(last_sequence, rows[-1].base + lasts[-1] if rows else 0)

    def _last_number(self, row: EpochRow, last_sequence: int) -> int:
        durable = self._durable.number if self._durable.epoch == row.epoch else 0
        return max(last_sequence - row.base, row.settled_number, durable, 0)

    def _verify(self, connection: sqlite3.Connection, epochs: list[EpochState]) -> int:
        """Verify unsettled records; report missing ones; return when the last was written."""
        written_at_ms = 0
        for state in epochs:
            base = state.row.base
            expected = state.settled_number + 1
            gaps: list[tuple[int, int]] = []
            for row in database.read_each_record(
                connection, base + expected, base + state.last_number
            ):
                number = row.sequence - base
                if not is_sound(row, state.seed, number):
                    raise CorruptError(f"record {number} of epoch {state.row.epoch} is damaged")
                if number > expected:
                    gaps.append((expected, number - 1))
                expected = number + 1
                written_at_ms = row.written_at_ms
            if expected <= state.last_number:
                gaps.append((expected, state.last_number))
            if gaps:
                self._report_lost(
                    f"{sum(last - first + 1 for first, last in gaps)} unsettled records of epoch "
                    f"{state.row.epoch}: {_gaps_to_text(gaps)}"
                )
        return written_at_ms or _last_written_at_ms(connection)

    def _report_lost(self, what: str) -> None:
        self._directory.problems.report(
            ProblemKind.LOST_RECORDS,
            f"{self._directory.path}: lost {what}; usage that the control plane had not settled "
            "is missing from its totals",
        )


def _gaps_to_text(gaps: list[tuple[int, int]]) -> str:
    named = [f"{first}" if first == last else f"{first} to {last}" for first, last in gaps]
    more = ", ..." if len(named) > _GAPS_NAMED_MAX else ""
    return ", ".join(named[:_GAPS_NAMED_MAX]) + more


def _last_written_at_ms(connection: sqlite3.Connection) -> int:
    found = connection.execute(
        "SELECT written_at_ms FROM record ORDER BY sequence DESC LIMIT 1"
    ).fetchone()
    return int(found[0]) if found else 0


def _translated(error: Exception) -> Exception:
    if database.is_corrupt_schema(error):
        return CorruptError(str(error))
    return error
