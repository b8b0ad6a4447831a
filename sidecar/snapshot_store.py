"""The last snapshots on disk, so that a sidecar that starts alone can still answer."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Final, NamedTuple

from sidecar.journal.database import is_corrupt_schema, transaction
from sidecar.journal.directory import DataDirectory
from sidecar.journal.problems import ProblemKind
from sidecar.journal.write_ahead import inspect_log
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

_FILE: Final = "snapshots.sqlite"
_LOG_FILE: Final = f"{_FILE}-wal"
_INDEX_FILE: Final = f"{_FILE}-shm"
_META: Final = "meta"
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE snapshot (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, checksum INTEGER NOT NULL,
    payload BLOB NOT NULL, PRIMARY KEY (kind, id)
);
"""
_SLICE_ROWS: Final = 256
_ROW_TYPES: Final = [int, str, str, int, int, bytes]


class StoredSnapshot(NamedTuple):
    """Something kept; its id is unique within the kind. The kind "meta" is the store's own."""

    kind: str
    id: str
    version: int
    payload: bytes


class _Row(NamedTuple):
    rowid: int
    kind: str
    id: str
    version: int
    checksum: int
    payload: bytes

    def is_sound(self) -> bool:
        if [type(value) for value in self] != _ROW_TYPES:
            return False
        return self.checksum == _checksum(self.kind, self.id, self.version, self.payload)


class SnapshotStore:
    """Snapshots by kind and id, each with a checksum, and a few values that describe the whole.

    Opening verifies every row. What is damaged is set aside and reported, and the rest is there;
    the values of `meta` are then gone, since what they say (every change up to revision N is held)
    is not so any more. A file that cannot be read at all is set aside, and an empty one begun.

    Methods may be called from any thread, and block for as long as the disk takes.
    """

    def __init__(self, directory: DataDirectory, now_ms: int) -> None:
        """Open the store. Raises UnavailableError where the disk fails."""
        self._directory = directory
        self._lock = threading.Lock()
        self._failure = ""
        try:
            self._connection = self._open(now_ms)
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def save(
        self,
        put: Iterable[tuple[str, str, int, bytes]] = (),
        remove: Iterable[tuple[str, str]] = (),
        meta: Mapping[str, str] | None = None,
    ) -> None:
        """Keep snapshots (kind, id, version, payload), drop others (kind, id), and set values.

        All of it or nothing. A snapshot takes the place of the one with its kind and id, whatever
        the versions. Raises UnavailableError.
        """
        rows = list(put)
        rows += [(_META, name, 0, value.encode()) for name, value in (meta or {}).items()]
        with self._lock:
            if self._failure:
                raise UnavailableError(self._failure)
            try:
                with transaction(self._connection):
                    self._connection.executemany(
                        "DELETE FROM snapshot WHERE kind = ? AND id = ?", list(remove)
                    )
                    self._connection.executemany(
                        "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)",
                        [
                            (kind, item, version, _checksum(kind, item, version, payload), payload)
                            for kind, item, version, payload in rows
                        ],
                    )
            except sqlite3.Error as error:
                raise self._unavailable(error) from error

    def load_all(self) -> Iterator[StoredSnapshot]:
        """Yield every snapshot. Raises UnavailableError."""
        after = 0
        while rows := self._read_slice(after):
            after = rows[-1].rowid
            for row in rows:
                if row.kind != _META:
                    yield StoredSnapshot(row.kind, row.id, row.version, row.payload)

    def meta(self) -> dict[str, str]:
        """Return the values last set; none where snapshots were lost since. UnavailableError."""
        found = {}
        after = 0
        while rows := self._read_slice(after, _META):
            after = rows[-1].rowid
            found.update({row.id: row.payload.decode() for row in rows})
        return found

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._failure = f"{self._directory.path / _FILE} is closed"
            self._connection.close()

    def _open(self, now_ms: int) -> sqlite3.Connection:
        path = self._directory.path / _FILE
        if not path.exists():
            self._begin_anew(now_ms)
        is_log_damaged = inspect_log(self._directory.path / _LOG_FILE).is_damaged
        try:
            connection = _connect(self._directory)
        except sqlite3.Error as error:
            if not is_corrupt_schema(error):
                raise
            self._report(f"{path} cannot be read ({error})", self._begin_anew(now_ms))
            return _connect(self._directory)
        try:
            damaged = _find_damaged(connection)
            if damaged or is_log_damaged:
                self._set_rows_aside(connection, damaged, now_ms)
        except sqlite3.Error as error:
            connection.close()
            if not is_corrupt_schema(error):
                raise
            self._report(f"{path} cannot be read ({error})", self._begin_anew(now_ms))
            return _connect(self._directory)
        return connection

    def _begin_anew(self, now_ms: int) -> str:
        """Set the files aside and make an empty one; return the name that was given."""
        folder = self._directory.path
        moved = self._directory.set_aside([_FILE, _LOG_FILE], now_ms)
        (folder / _INDEX_FILE).unlink(missing_ok=True)
        draft = self._directory.new_draft(_FILE)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        draft.rename(folder / _FILE)
        self._directory.sync()
        return moved[0].name if moved else ""

    def _set_rows_aside(
        self, connection: sqlite3.Connection, damaged: list[int], now_ms: int
    ) -> None:
        """Keep a copy of the file as it is, and go on without what is damaged in it."""
        target = self._directory.free_name(_FILE, now_ms)
        with closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
        with transaction(connection):
            connection.executemany(
                "DELETE FROM snapshot WHERE rowid = ?", [(rowid,) for rowid in damaged]
            )
            connection.execute("DELETE FROM snapshot WHERE kind = ?", (_META,))
        what = f"{len(damaged)} rows" if damaged else "the end of the write-ahead log"
        self._report(f"{self._directory.path / _FILE}: {what} damaged", target.name)

    def _report(self, what: str, set_aside_as: str) -> None:
        self._directory.problems.report(
            ProblemKind.CORRUPT_SNAPSHOT,
            f"{what}; set aside as {set_aside_as}; the control plane sends everything again",
        )

    def _read_slice(self, after: int, kind: str = "") -> list[_Row]:
        with self._lock:
            if self._failure:
                raise UnavailableError(self._failure)
            try:
                return _read_rows(self._connection, after, kind)
            except sqlite3.Error as error:
                raise self._unavailable(error) from error

    def _unavailable(self, error: sqlite3.Error | OSError) -> UnavailableError:
        path = self._directory.path / _FILE
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, sqlite3.Error) and is_corrupt_schema(error):
            # Not begun anew while running: what was saved before would be missing from it.
            self._failure = f"{path} is damaged ({reason}); it is set aside at the next start"
            self._directory.problems.report(ProblemKind.CORRUPT_SNAPSHOT, self._failure)
        return UnavailableError(f"snapshots cannot be kept in {path}: {reason}")


def _connect(directory: DataDirectory) -> sqlite3.Connection:
    connection = sqlite3.connect(
        directory.path / _FILE, timeout=2.0, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "mmap_size = 0"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _require_version(connection, directory)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_version(connection: sqlite3.Connection, directory: DataDirectory) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise FailedPreconditionError(
            f"{directory.path / _FILE} was written by a later release (format {version}); "
            "start that release, or remove the file"
        )
    connection.execute("SELECT kind FROM snapshot LIMIT 1").fetchone()


def _read_rows(connection: sqlite3.Connection, after: int, kind: str = "") -> list[_Row]:
    found = connection.execute(
        "SELECT rowid, kind, id, version, checksum, payload FROM snapshot"
        " WHERE rowid > ? AND (? = '' OR kind = ?) ORDER BY rowid LIMIT ?",
        (after, kind, kind, _SLICE_ROWS),
    )
    return [_Row._make(values) for values in found.fetchall()]


def _find_damaged(connection: sqlite3.Connection) -> list[int]:
    """Return the rows that are not as they were written. Raises sqlite3.Error."""
    for (finding,) in connection.execute("PRAGMA quick_check(1)"):
        if finding != "ok":
            raise sqlite3.DatabaseError(str(finding))
    damaged = []
    after = 0
    while rows := _read_rows(connection, after):
        after = rows[-1].rowid
        damaged += [row.rowid for row in rows if not row.is_sound()]
    return damaged


def _checksum(kind: str, item: str, version: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(f"{kind}\n{item}\n{version}".encode()))
