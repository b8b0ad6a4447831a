"""The candidate engines behind one small surface: append, read a range, what runs beside."""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import lmdb

from sidecar.journal import DataDirectory, Journal, JournalSettings

WAL_CHECKPOINT_BYTES = 16 * 1024 * 1024
_PAGE_BYTES = 2048
_MAP_BYTES = 8 * 1024 * 1024 * 1024
_DIGEST = bytes(32)
_FRAME = struct.Struct(">QI")


class Engine(Protocol):
    """A journal of one engine, as the owner thread and the maintenance thread see it."""

    def append(self, payload: bytes) -> int:
        """Commit one record and return its number, from 1."""

    def maintain(self) -> None:
        """Make what is written durable; checkpoint. Called by another thread."""

    def read_range(self, first: int, count: int) -> list[bytes]:
        """Return records in order."""

    def close(self) -> None:
        """Let go of the files."""


class SqliteEngine:
    """SQLite in WAL mode: one INSERT, in its own transaction, is one append."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._path = folder / "journal.sqlite"
        self._owner = self._connect(synchronous)
        self._owner.execute(
            "CREATE TABLE IF NOT EXISTS record (sequence INTEGER PRIMARY KEY, written_at_ms INTEGER"
            " NOT NULL, digest BLOB NOT NULL, checksum INTEGER NOT NULL, payload BLOB NOT NULL)"
        )
        row = self._owner.execute("SELECT max(sequence) FROM record").fetchone()
        self._last = row[0] or 0
        self._beside = self._connect("NORMAL" if synchronous == "OFF" else synchronous)
        self._wal = os.open(f"{self._path}-wal", os.O_RDONLY)

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    def append(self, payload: bytes) -> int:
        """Commit one record."""
        number = self._last + 1
        self._owner.execute(
            "INSERT INTO record VALUES (?,?,?,?,?)", (number, 1, _DIGEST, 0, payload)
        )
        self._last = number
        return number

    def maintain(self) -> None:
        """Sync the write-ahead log; move it into the database when it is long."""
        os.fdatasync(self._wal)
        if os.fstat(self._wal).st_size > WAL_CHECKPOINT_BYTES:
            self._beside.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def read_range(self, first: int, count: int) -> list[bytes]:
        """Return records in order."""
        rows = self._owner.execute(
            "SELECT sequence, digest, payload FROM record WHERE sequence >= ?"
            " ORDER BY sequence LIMIT ?",
            (first, count),
        )
        return [row[2] for row in rows]

    def close(self) -> None:
        """Close both connections."""
        self._beside.close()
        self._owner.close()
        os.close(self._wal)


class LmdbEngine:
    """LMDB: one write transaction with one put is one append."""

    def __init__(self, folder: Path, options: dict[str, bool]) -> None:
        self._env = lmdb.open(str(folder / "journal.lmdb"), map_size=_MAP_BYTES, **options)
        self._synced_on_commit = options.get("sync", True)
        with self._env.begin() as transaction, transaction.cursor() as cursor:
            self._last = int.from_bytes(cursor.key(), "big") if cursor.last() else 0

    def append(self, payload: bytes) -> int:
        """Commit one record."""
        number = self._last + 1
        with self._env.begin(write=True) as transaction:
            transaction.put(number.to_bytes(8, "big"), _DIGEST + payload, append=True)
        self._last = number
        return number

    def maintain(self) -> None:
        """Sync the map."""
        if not self._synced_on_commit:
            self._env.sync(force=True)

    def read_range(self, first: int, count: int) -> list[bytes]:
        """Return records in order."""
        found: list[bytes] = []
        with self._env.begin() as transaction, transaction.cursor() as cursor:
            if not cursor.set_range(first.to_bytes(8, "big")):
                return found
            for value in cursor.iternext(keys=False, values=True):
                found.append(value[len(_DIGEST) :])
                if len(found) == count:
                    break
        return found

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


class JournalEngine:
    """The sidecar's own journal: SQLite with checksums, bounds, marks and its upkeep thread."""

    def __init__(self, folder: Path) -> None:
        self._directory = DataDirectory(folder / "journal", 0)
        settings = JournalSettings(bytes_max=1 << 34)
        self._journal = Journal.open(self._directory, settings, boot_id="", now_ms=0)

    def append(self, payload: bytes) -> int:
        """Append one record."""
        return self._journal.append(payload, _DIGEST, 0)

    def maintain(self) -> None:
        """Do nothing: the journal maintains itself."""

    def read_range(self, first: int, count: int) -> list[bytes]:
        """Return records in order."""
        records = self._journal.read_after((0, first - 1), count, 1 << 30)
        return [record.payload for record in records]

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
        self._directory.close()


class FileEngine:
    """One write(2) to a plain file: the floor that any engine stands on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.log"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._last = 0

    def append(self, payload: bytes) -> int:
        """Write one frame."""
        number = self._last + 1
        os.write(self._fd, _FRAME.pack(number, len(payload)) + _DIGEST + payload)
        self._last = number
        return number

    def maintain(self) -> None:
        """Sync the file."""
        os.fdatasync(self._fd)

    def read_range(self, first: int, count: int) -> list[bytes]:
        """Return records in order. All frames of a run have one size."""
        _, length = _FRAME.unpack(os.pread(self._fd, _FRAME.size, 0))
        step = _FRAME.size + len(_DIGEST) + length
        block = os.pread(self._fd, step * count, step * (first - 1))
        start = _FRAME.size + len(_DIGEST)
        return [block[at + start : at + step] for at in range(0, len(block), step)]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


ENGINES: dict[str, Callable[[Path], Engine]] = {
    "sqlite-normal": lambda folder: SqliteEngine(folder, "NORMAL"),
    "sqlite-off": lambda folder: SqliteEngine(folder, "OFF"),
    "sqlite-full": lambda folder: SqliteEngine(folder, "FULL"),
    "lmdb-nosync": lambda folder: LmdbEngine(folder, {"sync": False, "metasync": False}),
    "lmdb-writemap": lambda folder: LmdbEngine(
        folder, {"sync": False, "writemap": True, "map_async": True}
    ),
    "lmdb-nometasync": lambda folder: LmdbEngine(folder, {"metasync": False}),
    "lmdb-sync": lambda folder: LmdbEngine(folder, {}),
    "file": FileEngine,
    "journal": JournalEngine,
}


class Maintenance:
    """Calls `maintain` at an interval on its own thread, as the sidecar does."""

    def __init__(self, engine: Engine, interval_s: float) -> None:
        self._engine = engine
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._engine.maintain()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
