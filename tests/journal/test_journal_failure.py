"""A disk that fails: nothing is numbered, nothing taken until the end was read again."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from journal_world import (
    NOW_MS,
    all_unsettled,
    append,
    digest_of,
    numbers,
    opened,
    payload_for,
    require_sound,
    settle,
)

from sidecar.journal import JournalSettings, ProblemKind
from sidecar.journal.record import epoch_seed, record_checksum
from weighbridge.rules.errors import UnavailableError

FULL_DISK = Path(__file__).with_name("journal_full_disk.py")
# The upkeep thread stays out of the way; tests run its rounds.
QUIET = JournalSettings(fsync_interval_ms=3_600_000)


def test_a_full_disk(tmp_path: Path) -> None:
    root = str(FULL_DISK.parents[2])
    done = subprocess.run(
        [sys.executable, str(FULL_DISK), str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": root},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert "cannot be written" in said["first"]
    assert "until its end is read again" in said["again"]
    assert said["acknowledged"] > 500
    assert said["on_full"] >= said["acknowledged"]
    assert said["numbers"] == list(range(1, said["on_full"] + 11))
    assert "write_failed" in said["problems"]
    assert not {"corrupt_file", "lost_records"} & set(said["problems"])
    with opened(tmp_path / "data") as journal:
        assert numbers(all_unsettled(journal)) == said["numbers"]


def test_a_sync_that_fails_stops_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(tmp_path, QUIET) as journal:
        append(journal, 5)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            journal.flush()
        assert "could not be synced" in journal.failure
        assert [problem.kind for problem in journal.problems] == [ProblemKind.WRITE_FAILED]
        with pytest.raises(UnavailableError, match="could not be synced"):
            append(journal)
        # Reading goes on.
        require_sound(all_unsettled(journal))
        journal.recover(NOW_MS)
        assert journal.failure == ""
        append(journal)
        assert numbers(all_unsettled(journal)) == list(range(1, 7))


def test_recover_takes_back_what_was_told_to_have_failed(tmp_path: Path) -> None:
    with opened(tmp_path, QUIET) as journal:
        append(journal, 3)
        state = journal._state
        # What a failed sync leaves: the record is in the file, and the caller was told it is not.
        row = state.current.row
        payload = payload_for(journal.epoch, 4)
        seed = epoch_seed(row.sidecar_id, row.epoch)
        checksum = record_checksum(seed, 4, NOW_MS, digest_of(payload), payload)
        values = (row.base + 4, NOW_MS, checksum, digest_of(payload), payload)
        journal._connection.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?)", values)
        state.fail("the disk failed")
        journal.recover(NOW_MS)
        assert journal.next_number == 4
        assert numbers(all_unsettled(journal)) == [1, 2, 3]
        append(journal)
    with opened(tmp_path) as journal:
        require_sound(all_unsettled(journal))
        assert journal.epochs()[0].last_number == 4


def test_recover_says_what_the_disk_does_not_have_any_more(tmp_path: Path) -> None:
    with opened(tmp_path, QUIET) as journal:
        append(journal, 10)
        settle(journal, 2)
        journal._connection.execute("DELETE FROM record WHERE sequence > 7")
        journal._state.fail("the disk failed")
        journal.recover(NOW_MS)
        assert [problem.kind for problem in journal.problems] == [ProblemKind.LOST_RECORDS]
        assert "the last 3 records" in journal.problems[0].detail
        append(journal)
        lost = [record.number for record in all_unsettled(journal) if record.is_lost]
        assert numbers(all_unsettled(journal)) == list(range(3, 12))
        assert lost == [8, 9, 10]


def test_recover_keeps_what_was_settled_since_the_last_round(tmp_path: Path) -> None:
    with opened(tmp_path, QUIET) as journal:
        append(journal, 10)
        settle(journal, 8)
        journal._state.fail("the disk failed")
        journal.recover(NOW_MS)
        assert numbers(all_unsettled(journal)) == [9, 10]
    with opened(tmp_path) as journal:
        assert numbers(all_unsettled(journal)) == [9, 10]


def test_recover_can_be_called_again_until_it_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, QUIET) as journal:
        append(journal, 2)
        journal._state.fail("the disk failed")
        for _ in range(3):
            with monkeypatch.context() as patch:
                patch.setattr(sqlite3, "connect", _unable_to_open)
                with pytest.raises(UnavailableError, match="unable to open"):
                    journal.recover(NOW_MS)
            with pytest.raises(UnavailableError, match="the disk failed"):
                append(journal)
            with pytest.raises(UnavailableError):
                all_unsettled(journal)
        journal.recover(NOW_MS)
        append(journal)
        assert numbers(all_unsettled(journal)) == [1, 2, 3]
        # Where nothing failed it does nothing.
        journal.recover(NOW_MS)


def _unable_to_open(*_arguments: object, **_options: object) -> None:
    raise sqlite3.OperationalError("unable to open database file")


def test_a_writer_of_another_process_delays_and_loses_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, QUIET) as journal:
        append(journal, 2)
        other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal._connection.execute("PRAGMA busy_timeout = 1").fetchall()
        with pytest.raises(UnavailableError, match="locked"):
            append(journal)
        other.execute("ROLLBACK")
        other.close()
        journal.recover(NOW_MS)
        append(journal)
        assert numbers(all_unsettled(journal)) == [1, 2, 3]


def test_a_new_identity_that_could_not_be_written_takes_no_records(tmp_path: Path) -> None:
    with opened(tmp_path, QUIET) as journal:
        append(journal, 2)
        old = journal.epoch
        other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal._connection.execute("PRAGMA busy_timeout = 1").fetchall()
        with pytest.raises(UnavailableError, match="locked"):
            journal.renew_identity(NOW_MS)
        other.execute("ROLLBACK")
        other.close()
        assert journal.epoch == old
        journal.recover(NOW_MS)
        journal.renew_identity(NOW_MS)
        append(journal)
        assert [(r.epoch == old, r.number) for r in all_unsettled(journal)] == [
            (True, 1),
            (True, 2),
            (False, 1),
        ]
