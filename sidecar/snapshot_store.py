"""The last snapshots on disk, so that a sidecar that starts alone can still answer."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

from sidecar.journal.database import (
    DATABASE_ERRORS,
    CorruptError,
    is_corrupt,
    is_corrupt_schema,
    transaction,
)
from sidecar.journal.directory import DataDirectory
from sidecar.journal.problems import ProblemKind
from sidecar.journal.write_ahead import inspect_log
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

_FILE: Final = "snapshots.sqlite"
_LOG_FILE: Final = f"{_FILE}-wal"
_INDEX_FILE: Final = f"{_FILE}-shm"
_META: Final = "meta"
_VERSION: Final = 1
# One tree and no index beside it: an index could be damaged where no checksum of a row shows it.
_SCHEMA: Final = """
CREATE TABLE snapshot (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, checksum INTEGER NOT NULL,
    payload BLOB NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
"""
_INSERT: Final = "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)"
_SLICE_ROWS: Final = 256
_ROW_TYPES: Final = [str, str, int, int, bytes]


class StoredSnapshot(NamedTuple):
    """Something kept; its id is unique within the kind. The kind "meta" is the store's own."""

    kind: str
    id: str
    version: int
    payload: bytes


class _Row(NamedTuple):
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

    Opening verifies every row. A damaged file is set aside and reported, and what is sound in it
    goes on in a new one, except the values of `meta`: what they say (every change up to revision N
    is held) is not so any more.

    Methods may be called from any thread, and block for as long as the disk takes.
    """

    def __init__(self, directory: DataDirectory, now_ms: int) -> None:
        """Open the store. Raises UnavailableError where the disk fails."""
        self._directory = directory
        self._lock = threading.Lock()
        self._failure = ""
        try:
            self._connection = self._open(now_ms)
        except (*DATABASE_ERRORS, OSError) as error:
            raise self._unavailable(error) from error

    def save(
        self,
        put: Iterable[tuple[str, str, int, bytes]] = (),
        remove: Iterable[tuple[str, str]] = (),
        meta: Mapping[str, str] | None = None,
        *,
        is_anew: bool = False,
    ) -> None:
        """Keep snapshots (kind, id, version, payload), drop others (kind, id), and set values.

        Where it is anew, everything that was kept before goes. All of it or nothing. A snapshot
        takes the place of the one with its kind and id, whatever the versions. Raises
        UnavailableError.
        """
        rows = list(put)
        rows += [(_META, name, 0, value.encode()) for name, value in (meta or {}).items()]
        with self._lock:
            if self._failure:
                raise UnavailableError(self._failure)
            try:
                with transaction(self._connection):
                    if is_anew:
                        self._connection.execute("DELETE FROM snapshot")
                    self._connection.executemany(
                        "DELETE FROM snapshot WHERE kind = ? AND id = ?", list(remove)
                    )
                    self._connection.executemany(
                        _INSERT,
                        [
                            (kind, item, version, _checksum(kind, item, version, payload), payload)
                            for kind, item, version, payload in rows
                        ],
                    )
            except DATABASE_ERRORS as error:
                raise self._unavailable(error) from error

    def load_all(self) -> Iterator[StoredSnapshot]:
        """Yield every snapshot, by kind and id. Raises UnavailableError."""
        after = ("", "")
        while rows := self._read_slice(after):
            after = (rows[-1].kind, rows[-1].id)
            for row in rows:
                if row.kind != _META:
                    yield StoredSnapshot(row.kind, row.id, row.version, row.payload)

    def meta(self) -> dict[str, str]:
        """Return the values last set; none where snapshots were lost since. UnavailableError."""
        rows = self._read_slice((_META, ""))
        return {row.id: row.payload.decode() for row in rows if row.kind == _META}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._failure = f"{self._directory.path / _FILE} is closed"
            self._connection.close()

    def _open(self, now_ms: int) -> sqlite3.Connection:
        folder = self._directory.path
        if not (folder / _FILE).exists():
            self._begin_anew([], now_ms)
        damage = "its write-ahead log" if inspect_log(folder / _LOG_FILE).is_damaged else ""
        if not damage:
            try:
                return self._connect_verified()
            except CorruptError as error:
                damage = str(error)
        rows = list(_sound_rows(folder / _FILE))
        moved = self._begin_anew(rows, now_ms)
        self._directory.problems.report(
            ProblemKind.CORRUPT_SNAPSHOT,
            f"{folder / _FILE} is damaged ({damage}); set aside as {moved[0].name}; {len(rows)} "
            "snapshots are kept, and the control plane sends everything again",
        )
        return self._connect_verified()

    def _connect_verified(self) -> sqlite3.Connection:
        """Open the file. Raises CorruptError where anything in it is damaged."""
        path = self._directory.path / _FILE
        connection = sqlite3.connect(
            path, timeout=2.0, isolation_level=None, check_same_thread=False
        )
        try:
            _verify(connection, path)
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "mmap_size = 0"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except DATABASE_ERRORS as error:
            connection.close()
            if is_corrupt_schema(error):
                raise CorruptError(str(error)) from error
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self, rows: Iterable[_Row], now_ms: int) -> list[Path]:
        """Put a new file with these rows in place; return as what the old ones are set aside."""
        draft = self._directory.new_draft(_FILE)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            with transaction(connection):
                connection.executemany(_INSERT, rows)
        moved = self._directory.set_aside([_FILE, _LOG_FILE], now_ms)
        (self._directory.path / _INDEX_FILE).unlink(missing_ok=True)
        draft.rename(self._directory.path / _FILE)
        self._directory.sync()
        return moved

    def _read_slice(self, after: tuple[str, str]) -> list[_Row]:
        with self._lock:
            if self._failure:
                raise UnavailableError(self._failure)
            try:
                found = self._connection.execute(
                    "SELECT * FROM snapshot WHERE (kind, id) > (?, ?) ORDER BY kind, id LIMIT ?",
                    (*after, _SLICE_ROWS),
                )
                rows = [_Row._make(values) for values in found.fetchall()]
            except DATABASE_ERRORS as error:
                raise self._unavailable(error) from error
            if not all(row.is_sound() for row in rows):
                raise self._unavailable(CorruptError("a row is not as it was written"))
            return rows

    def _unavailable(self, error: Exception) -> UnavailableError:
        path = self._directory.path / _FILE
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, CorruptError) or is_corrupt(error):
            # Not begun anew while running: what was saved before would be missing from it.
            self._failure = f"{path} is damaged ({reason}); it is set aside at the next start"
            self._directory.problems.report(ProblemKind.CORRUPT_SNAPSHOT, self._failure)
        return UnavailableError(f"snapshots cannot be kept in {path}: {reason}")


def _verify(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise FailedPreconditionError(
            f"{path} was written by a later release (format {version}); start that release, "
            "or remove the file"
        )
    damaged = sum(not _Row._make(values).is_sound() for values in _all_values(connection))
    if damaged:
        raise CorruptError(f"{damaged} rows")
    for (finding,) in connection.execute("PRAGMA integrity_check(1)"):
        if finding != "ok":
            raise CorruptError(str(finding))


def _all_values(connection: sqlite3.Connection) -> sqlite3.Cursor:
    return connection.execute("SELECT kind, id, version, checksum, payload FROM snapshot")


def _sound_rows(path: Path) -> Iterator[_Row]:
    """Yield what can be read and is sound, without the write-ahead log and without changing it."""
    rows: dict[tuple[str, str], _Row] = {}
    for order in ("", " ORDER BY kind DESC, id DESC"):
        # From both ends, because a page that cannot be read ends a scan.
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as source,
            suppress(*DATABASE_ERRORS),
        ):
            for values in source.execute(f"SELECT * FROM snapshot{order}"):  # noqa: S608
                row = _Row._make(values)
                if row.is_sound() and row.kind != _META:
                    rows[row.kind, row.id] = row
    yield from rows.values()


def _checksum(kind: str, item: str, version: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(f"{kind}\n{item}\n{version}".encode()))
