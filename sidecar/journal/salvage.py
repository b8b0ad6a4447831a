"""Rebuilds a damaged journal from what is sound in it.

Every record carries a checksum over its identity and content, so sound ones can be told wherever
they are found. They are gathered twice: from the database as SQLite sees it with its write-ahead
log, and from the database alone, because a log cut off by damage can hide newer pages under older
ones. The damaged files are set aside as they were found.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from sidecar.journal import database
from sidecar.journal.directory import DataDirectory
from sidecar.journal.epoch import EpochRow
from sidecar.journal.problems import ProblemKind
from sidecar.journal.record import Row, epoch_seed, is_sound

_REBUILT: Final = "journal-rebuilt.sqlite"
_COPY_FOLDER: Final = "journal-salvage"
_READ_ERRORS: Final = (*database.DATABASE_ERRORS, OverflowError)
_SLICE: Final = 200
_SLICE_BYTES: Final = 1 << 20
_SEQUENCE_MAX: Final = 1 << 62
# Where a database's head says how many pages it has.
_PAGE_COUNT_AT: Final = 28
_PADDED_BYTES_MAX: Final = 1 << 40
# Sequences in a row that cannot be read, after which nothing more is expected; fewer in a file
# that has no room for as many.
_MISSES_MAX: Final = 100_000
_RECORD_BYTES_MIN: Final = 32


def finish_rebuild(directory: DataDirectory, now_ms: int) -> None:
    """Bring an interrupted rebuild to its end: forwards where it was complete, else back."""
    shutil.rmtree(directory.path / _COPY_FOLDER, ignore_errors=True)
    rebuilt = directory.path / _REBUILT
    if (directory.path / database.FILE).exists():
        rebuilt.unlink(missing_ok=True)
        return
    # A log without its database would be applied to whatever comes next under its name.
    directory.set_aside([database.LOG_FILE], now_ms)
    (directory.path / database.INDEX_FILE).unlink(missing_ok=True)
    if not rebuilt.exists():
        draft = directory.new_draft(database.FILE)
        database.create(draft)
        draft.rename(rebuilt)
    rebuilt.rename(directory.path / database.FILE)
    directory.sync()


def rebuild(directory: DataDirectory, reason: str, now_ms: int) -> None:
    """Set the journal aside and put one in its place that has what is sound of it."""
    draft = directory.new_draft(database.FILE)
    database.create(draft)
    epochs, records = _fill(directory, draft)
    draft.rename(directory.path / _REBUILT)
    moved = directory.set_aside([database.FILE, database.LOG_FILE], now_ms)
    finish_rebuild(directory, now_ms)
    names = " and ".join(path.name for path in moved)
    directory.problems.report(
        ProblemKind.CORRUPT_FILE,
        f"{directory.path / database.FILE} is damaged ({reason}); set aside as {names}; "
        f"{records} sound records of {epochs} epochs are kept",
    )


def _fill(directory: DataDirectory, draft: Path) -> tuple[int, int]:
    folder = directory.path / _COPY_FOLDER
    with closing(sqlite3.connect(draft, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = FULL")
        target.execute("BEGIN")
        for names in ((database.FILE, database.LOG_FILE), (database.FILE,)):
            folder.mkdir(mode=0o700)
            try:
                _gather(_copy(directory.path, folder, names), target)
            finally:
                shutil.rmtree(folder)
        (epochs,) = target.execute("SELECT count(*) FROM epoch").fetchone()
        (records,) = target.execute("SELECT count(*) FROM record").fetchone()
        target.execute("COMMIT")
    return epochs, records


def _copy(source: Path, folder: Path, names: Sequence[str]) -> Path:
    """Copy files: reading through a log changes them, and those set aside are evidence."""
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    path = folder / database.FILE
    with path.open("r+b") as file:
        file.seek(_PAGE_COUNT_AT)
        count = int.from_bytes(file.read(4), "big")
        # SQLite reads nothing of a file that is shorter than its head says.
        if file.seek(0, os.SEEK_END) < count * database.PAGE_BYTES <= _PADDED_BYTES_MAX:
            file.truncate(count * database.PAGE_BYTES)
    return path


def _gather(path: Path, target: sqlite3.Connection) -> None:
    """Copy what is sound in one source and not yet in the target."""
    with closing(sqlite3.connect(path, isolation_level=None)) as source:
        for row in _sound_epochs(source):
            target.execute(
                "INSERT OR IGNORE INTO epoch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, row.checksum()),
            )
        epochs = database.read_epochs(target)
        misses_max = min(_MISSES_MAX, path.stat().st_size // _RECORD_BYTES_MIN)
        for record in _readable_records(source, epochs, misses_max):
            if _belongs_and_is_sound(record, epochs):
                target.execute("INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?)", record)


def _sound_epochs(source: sqlite3.Connection) -> Iterator[EpochRow]:
    try:
        keys = [key for (key,) in source.execute("SELECT key FROM epoch ORDER BY key")]
    except _READ_ERRORS:
        return
    for key in keys:
        try:
            found = source.execute("SELECT * FROM epoch WHERE key = ?", (key,)).fetchone()
        except _READ_ERRORS:
            continue
        if found is not None:
            row = EpochRow(*found[:-1])
            if row.checksum() == found[-1]:
                yield row


def _readable_records(
    source: sqlite3.Connection, epochs: list[EpochRow], misses_max: int
) -> Iterator[Row]:
    """Yield rows in order, past those that cannot be read."""
    if not epochs:
        return
    position = min(row.base for row in epochs)
    misses = 0
    while misses < misses_max:
        try:
            rows = database.read_records(source, position + 1, _SEQUENCE_MAX, _SLICE, _SLICE_BYTES)
        except _READ_ERRORS:
            # Somewhere in the slice is a page that cannot be read: go row by row.
            position += 1
            rows = _read_one(source, position)
            misses = 0 if rows else misses + 1
        else:
            if not rows:
                return
            position = rows[-1].sequence
        yield from rows


def _read_one(source: sqlite3.Connection, sequence: int) -> list[Row]:
    try:
        return database.read_records(source, sequence, sequence, 1, _SLICE_BYTES)
    except _READ_ERRORS:
        return []


def _belongs_and_is_sound(row: Row, epochs: list[EpochRow]) -> bool:
    owners = [epoch for epoch in epochs if epoch.base < row.sequence]
    if not owners:
        return False
    # An epoch without records has the base of the one that follows it.
    owner = max(owners, key=lambda epoch: epoch.key)
    return is_sound(row, epoch_seed(owner.sidecar_id, owner.epoch), row.sequence - owner.base)
