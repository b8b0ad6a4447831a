"""The journal's database: its schema, its connections, its statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sidecar.journal.epoch import EpochRow
from sidecar.journal.record import Row

FILE: Final = "journal.sqlite"
LOG_FILE: Final = f"{FILE}-wal"
INDEX_FILE: Final = f"{FILE}-shm"

PAGE_BYTES: Final = 2048
FRAME_BYTES: Final = PAGE_BYTES + 24
"""A page in the write-ahead log."""

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE epoch (
    key INTEGER PRIMARY KEY, sidecar_id TEXT NOT NULL, epoch TEXT NOT NULL,
    predecessor TEXT NOT NULL, boot_id TEXT NOT NULL, base INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL, settled_number INTEGER NOT NULL,
    stopped_cleanly INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE settled_minute (
    epoch_key INTEGER NOT NULL, minute INTEGER NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (epoch_key, minute)
) WITHOUT ROWID;
-- Appending touches the last page of one tree and nothing else: the sequence counts on through all
-- epochs, and an epoch's records lie from its base on.
CREATE TABLE record (
    sequence INTEGER PRIMARY KEY, written_at_ms INTEGER NOT NULL, checksum INTEGER NOT NULL,
    digest BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE upkeep (id INTEGER PRIMARY KEY, rounds INTEGER NOT NULL);
INSERT INTO upkeep VALUES (1, 0);
"""
# No memory map: a file cut short would be a signal instead of an error. Deleted records are not
# overwritten. Checkpoints run on the maintenance thread alone.
_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA mmap_size = 0",
    "PRAGMA secure_delete = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -1024",
)

INSERT_RECORD: Final = "INSERT INTO record VALUES (?, ?, ?, ?, ?)"
_INSERT_EPOCH: Final = "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT_RECORDS: Final = (
    "SELECT sequence, written_at_ms, checksum, digest, payload FROM record"
    " WHERE sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?"
)
_CORRUPT_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SLICE_BYTES_MAX: Final = 1 << 20


DATABASE_ERRORS: Final = (sqlite3.Error, UnicodeError)


class CorruptError(Exception):
    """What is on disk is not what was written."""


def is_corrupt(error: Exception) -> bool:
    """Whether an error says that the file is damaged, and not that it could not be used."""
    if isinstance(error, UnicodeError):
        # A damaged name in the schema, which SQLite quotes in its message.
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _CORRUPT_CODES


def is_corrupt_schema(error: Exception) -> bool:
    """Whether an error of a statement known to be right says that tables or texts are not ours."""
    code = getattr(error, "sqlite_errorcode", None)
    return code in (None, sqlite3.SQLITE_ERROR) or is_corrupt(error)


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open a connection on which every statement is a transaction of its own."""
    connection = sqlite3.connect(
        path, timeout=2.0, isolation_level=None, check_same_thread=False, cached_statements=32
    )
    try:
        for pragma in (*_PRAGMAS, f"PRAGMA synchronous = {synchronous}"):
            connection.execute(pragma).fetchall()
    except DATABASE_ERRORS:
        connection.close()
        raise
    return connection


@contextmanager
def synced(connection: sqlite3.Connection) -> Iterator[None]:
    """Have what is written inside synced before each statement returns."""
    (before,) = connection.execute("PRAGMA synchronous").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA synchronous = {int(before)}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all that is written inside, or none of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create(path: Path) -> None:
    """Fill an empty file with the schema. SQLite's other files follow its mode."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.executescript(
            f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
        )
    finally:
        connection.close()


def require_schema(connection: sqlite3.Connection) -> int:
    """Return the schema's version. Raises CorruptError where the file is no journal."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        raise CorruptError("it has no schema")
    connection.execute("SELECT rounds FROM upkeep WHERE id = 1").fetchone()
    return int(version)


def is_newer(version: int) -> bool:
    """Whether a later release made the file."""
    return version > _SCHEMA_VERSION


def write_epoch(connection: sqlite3.Connection, row: EpochRow) -> None:
    """Insert or replace an epoch."""
    connection.execute(_INSERT_EPOCH, (*row, row.checksum()))


def remove_epoch(connection: sqlite3.Connection, key: int) -> None:
    """Delete an epoch of which no record is left."""
    with transaction(connection):
        connection.execute("DELETE FROM settled_minute WHERE epoch_key = ?", (key,))
        connection.execute("DELETE FROM epoch WHERE key = ?", (key,))


def delete_after(connection: sqlite3.Connection, epoch_key: int, sequence: int) -> None:
    """Delete what comes after an epoch and after a sequence."""
    connection.execute("DELETE FROM record WHERE sequence > ?", (sequence,))
    connection.execute("DELETE FROM epoch WHERE key > ?", (epoch_key,))


def empty_log(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the database, unless another process reads from it."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def read_epochs(connection: sqlite3.Connection) -> list[EpochRow]:
    """Return every epoch, in the order they began. Raises CorruptError."""
    rows = []
    for *values, checksum in connection.execute("SELECT * FROM epoch ORDER BY key"):
        row = EpochRow(*values)
        if row.checksum() != checksum:
            raise CorruptError(f"the checksum of epoch {row.key} does not match")
        rows.append(row)
    return rows


def read_settled_minutes(connection: sqlite3.Connection, epoch_key: int) -> dict[int, int]:
    """Return up to which number an epoch was settled, by minute."""
    found = connection.execute(
        "SELECT minute, number FROM settled_minute WHERE epoch_key = ?", (epoch_key,)
    )
    return dict(found.fetchall())


def read_records(
    connection: sqlite3.Connection, first: int, last: int, limit: int, bytes_max: int
) -> list[Row]:
    """Return rows of a range of sequences, at least one where there is one."""
    rows: list[Row] = []
    size = 0
    cursor = connection.execute(_SELECT_RECORDS, (first, last, limit))
    try:
        for values in cursor:
            row = Row._make(values)
            size += len(row.payload)
            if rows and size > bytes_max:
                break
            rows.append(row)
    finally:
        # An open read would keep the log from being moved into the database.
        cursor.close()
    return rows


def read_each_record(connection: sqlite3.Connection, first: int, last: int) -> Iterator[Row]:
    """Yield the rows of a range, a slice of them in memory at a time."""
    while rows := read_records(connection, first, last, 1000, _SLICE_BYTES_MAX):
        yield from rows
        first = rows[-1].sequence + 1


def sequence_bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the lowest and the highest sequence; (0, 0) where there is no record."""
    # Two queries: SQLite finds each by the tree's edge, but reads all for both at once.
    (low,) = connection.execute("SELECT min(sequence) FROM record").fetchone()
    (high,) = connection.execute("SELECT max(sequence) FROM record").fetchone()
    return low or 0, high or 0


def first_sequence_in(connection: sqlite3.Connection, first: int, last: int) -> int:
    """Return the lowest sequence of a range; 0 where it is empty."""
    (low,) = connection.execute(
        "SELECT min(sequence) FROM record WHERE sequence BETWEEN ? AND ?", (first, last)
    ).fetchone()
    return low or 0


def last_written_before(connection: sqlite3.Connection, at_ms: int) -> int:
    """Return the last sequence written before an instant, else one below the first there is.

    Records lie in the order of their times, so this halves the range until it is found.
    """
    low, high = sequence_bounds(connection)
    if low == 0:
        return 0
    low -= 1
    while low < high:
        middle = (low + high + 1) // 2
        sequence, written_at_ms = connection.execute(
            "SELECT sequence, written_at_ms FROM record WHERE sequence <= ?"
            " ORDER BY sequence DESC LIMIT 1",
            (middle,),
        ).fetchone() or (low, at_ms - 1)
        if written_at_ms < at_ms:
            low = middle
        else:
            high = sequence - 1
    return low


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of all pages in use."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)


def delete_records(
    connection: sqlite3.Connection, first: int, last: int, limit: int, bytes_max: int
) -> int:
    """Delete a slice of a range, from its start; return the last sequence deleted, 0 for none."""
    found = connection.execute(
        "SELECT sequence, length(payload) FROM record WHERE sequence BETWEEN ? AND ?"
        " ORDER BY sequence LIMIT ?",
        (first, last, limit),
    ).fetchall()
    until = _end_of_slice(found, bytes_max)
    if until:
        connection.execute("DELETE FROM record WHERE sequence BETWEEN ? AND ?", (first, until))
    return until


def _end_of_slice(found: Iterable[tuple[int, int]], bytes_max: int) -> int:
    until = 0
    size = 0
    for sequence, length in found:
        size += length
        if until and size > bytes_max:
            break
        until = sequence
    return until
