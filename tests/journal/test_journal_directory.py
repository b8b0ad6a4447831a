"""The data directory: one process at a time, an identity that lasts, and one that is renewed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from journal_world import NOW_MS, all_unsettled, append, numbers, opened, set_aside

from sidecar.journal import DataDirectory, ProblemKind
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

HOLD = """
import sys
from pathlib import Path
from sidecar.journal import DataDirectory
directory = DataDirectory(Path(sys.argv[1]), 1)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_sidecar_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "data")]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FailedPreconditionError) as caught:
            DataDirectory(tmp_path / "data", NOW_MS)
        assert str(tmp_path / "data") in str(caught.value)
        assert f"process {holder.pid} on " in str(caught.value)
        holder.kill()
    # A killed holder leaves no lock behind.
    with DataDirectory(tmp_path / "data", NOW_MS):
        pass


def test_the_same_process_cannot_open_it_twice_either(tmp_path: Path) -> None:
    with DataDirectory(tmp_path, NOW_MS), pytest.raises(FailedPreconditionError, match="another"):
        DataDirectory(tmp_path, NOW_MS)


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "data") as journal:
        append(journal)
        journal.flush()
        path = tmp_path / "deep" / "data"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.iterdir()}
    assert len(modes) >= 6
    assert set(modes.values()) == {0o600}, modes


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UnavailableError, match="needs one that it can write"):
        DataDirectory(tmp_path / "data", NOW_MS)


def test_the_identity_lasts_and_epochs_name_their_predecessor(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        with opened(tmp_path) as journal:
            seen.append((journal.sidecar_id, journal.epoch, journal.predecessor))
            append(journal)
    (first_id, first, none), (second_id, second, after_first), (_, _, after_second) = seen
    assert first_id == second_id
    assert len(first_id) == len(first) == 32
    assert none == ""
    assert (after_first, after_second) == (first, second)


def test_epochs_without_records_leave_nothing_but_their_name(tmp_path: Path) -> None:
    for _ in range(5):
        with opened(tmp_path) as journal:
            last = journal.epoch
    with opened(tmp_path) as journal:
        assert journal.predecessor == last
        assert journal.epoch_index == 0
        assert [view.epoch for view in journal.epochs()] == [journal.epoch]


def test_how_the_run_before_ended(tmp_path: Path) -> None:
    with opened(tmp_path, boot_id="boot-1") as journal:
        assert (journal.previous_boot_id, journal.previous_stopped_cleanly) == ("", True)
    with opened(tmp_path, boot_id="boot-2", clean=False) as journal:
        assert (journal.previous_boot_id, journal.previous_stopped_cleanly) == ("boot-1", True)
    with opened(tmp_path, boot_id="boot-3") as journal:
        assert (journal.previous_boot_id, journal.previous_stopped_cleanly) == ("boot-2", False)


def test_a_renewed_identity_leaves_old_records_under_their_old_one(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 2)
        old = (journal.sidecar_id, journal.epoch)
        journal.renew_identity(NOW_MS)
        new = (journal.sidecar_id, journal.epoch)
        assert old[0] != new[0]
        assert old[1] != new[1]
        assert (journal.predecessor, journal.next_number, journal.epoch_index) == ("", 1, 1)
        append(journal, 3)
        records = all_unsettled(journal)
    assert [(r.sidecar_id, r.epoch) for r in records] == [old] * 2 + [new] * 3
    assert numbers(records) == [1, 2, 1, 2, 3]
    with opened(tmp_path) as journal:
        assert (journal.sidecar_id, journal.predecessor) == new
        assert all_unsettled(journal) == records


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"sidecar_id": "0000", "epoch": "", "checksum": 1}', "\x00" * 128]
)
def test_a_damaged_identity_is_set_aside_and_replaced(tmp_path: Path, content: str) -> None:
    with opened(tmp_path) as journal:
        append(journal, 4)
        old = journal.sidecar_id
    (tmp_path / "identity.json").write_text(content)
    with opened(tmp_path) as journal:
        assert journal.sidecar_id != old
        assert journal.predecessor == ""
        assert {record.sidecar_id for record in all_unsettled(journal)} == {old}
        (problem,) = journal.problems
        new = journal.sidecar_id
    assert problem.kind is ProblemKind.CORRUPT_IDENTITY
    (aside,) = set_aside(tmp_path)
    assert (tmp_path / aside).read_text() == content
    with opened(tmp_path) as journal:
        assert journal.sidecar_id == new
        assert journal.problems == ()


def test_the_identity_is_plain_to_read(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        stored = json.loads((tmp_path / "identity.json").read_text())
        assert (stored["sidecar_id"], stored["epoch"]) == (journal.sidecar_id, journal.epoch)


def test_only_so_many_damaged_files_are_kept(tmp_path: Path) -> None:
    with DataDirectory(tmp_path, NOW_MS) as directory:
        for turn in range(40):
            (tmp_path / "file").write_text(str(turn))
            directory.set_aside(["file"], NOW_MS + turn * 1000)
    kept = [(tmp_path / name).read_text() for name in set_aside(tmp_path)]
    assert kept == [str(turn) for turn in range(24, 40)]
