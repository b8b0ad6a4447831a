"""The write-ahead log as it is looked into before SQLite opens it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from journal_world import flip

from sidecar.journal.write_ahead import SOUND, inspect_log

PAGE_BYTES = 1024
FRAME_BYTES = PAGE_BYTES + 24
HEAD_BYTES = 32


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Make a log of 40 transactions, begun anew over a longer one."""
    live = tmp_path / "live.sqlite"
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
        for count in (100, 40):
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            for _ in range(count):
                connection.execute("INSERT INTO t (b) VALUES (randomblob(900))")
        kept = tmp_path / "killed-wal"
        kept.write_bytes((tmp_path / "live.sqlite-wal").read_bytes())
    return kept


def current_bytes(log: Path) -> int:
    """Return where the frames of the current log end; those after it are older."""
    return inspect_log(log).sound_bytes


def test_a_sound_log(log: Path) -> None:
    state = inspect_log(log)
    assert not state.is_damaged
    assert not state.is_torn
    assert HEAD_BYTES + 40 * FRAME_BYTES <= state.sound_bytes < log.stat().st_size


@pytest.mark.parametrize("length", [None, 0, 31, 32])
def test_a_log_without_frames(tmp_path: Path, log: Path, length: int | None) -> None:
    path = tmp_path / "other-wal"
    if length is not None:
        path.write_bytes(log.read_bytes()[:length])
    state = inspect_log(path)
    assert (state.is_damaged, state.is_torn) == (SOUND.is_damaged, SOUND.is_torn)


def test_every_changed_byte_is_seen(log: Path) -> None:
    original = log.read_bytes()
    end = current_bytes(log)
    last_frame = end - FRAME_BYTES
    for at in random.Random(1).sample(range(end), 300):
        flip(log, at)
        state = inspect_log(log)
        # Of the last frame the salts alone could pass for a leftover of the log before.
        is_salt_of_last = last_frame + 8 <= at < last_frame + 16
        assert state.is_damaged or state.is_torn or is_salt_of_last, at
        assert not state.is_torn or at >= last_frame
        log.write_bytes(original)


def test_a_last_frame_that_was_cut_off(log: Path) -> None:
    end = current_bytes(log)
    content = log.read_bytes()
    for length in (1, 23, 24, 25, 500, FRAME_BYTES - 1):
        log.write_bytes(content[: end - FRAME_BYTES + length])
        state = inspect_log(log)
        assert not state.is_damaged
        # Without all of its head it cannot be told from the end of the file.
        assert state.is_torn == (length >= 24)
        assert state.sound_bytes == end - FRAME_BYTES


def test_a_block_of_zeros(log: Path) -> None:
    end = current_bytes(log)
    content = bytearray(log.read_bytes())
    content[4096:8192] = bytes(4096)
    log.write_bytes(content)
    state = inspect_log(log)
    assert state.is_damaged
    assert state.sound_bytes < 4096 < end


def test_a_transaction_that_was_killed_in_the_middle(tmp_path: Path) -> None:
    live = tmp_path / "live.sqlite"
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("CREATE TABLE t (b BLOB)")
        connection.execute("PRAGMA cache_size = 2").fetchall()
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES (zeroblob(400000))")
        # Frames without a commit: written early because the cache is small.
        state = inspect_log(tmp_path / "live.sqlite-wal")
        connection.execute("ROLLBACK")
    assert state.sound_bytes > 100_000
    assert not state.is_damaged
    assert not state.is_torn
