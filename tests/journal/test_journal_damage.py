"""Damaged files: reported, set aside, never silently accepted, and what is sound is kept."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from journal_world import (
    DAY_MS,
    NOW_MS,
    all_kept,
    all_unsettled,
    append,
    flip,
    numbers,
    opened,
    payload_for,
    require_sound,
    set_aside,
    settle,
)

from sidecar.journal import ProblemKind
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

COUNT = 200
SETTLED = 40


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Make files as a killed process leaves them: most records in the write-ahead log alone."""
    path = tmp_path / "killed"
    with opened(tmp_path / "running") as journal:
        append(journal, COUNT)
        settle(journal, SETTLED)
        journal.flush()
        shutil.copytree(tmp_path / "running", path)
    return path


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Make files as a stopped process leaves them: no write-ahead log."""
    path = tmp_path / "stopped"
    with opened(path) as journal:
        append(journal, COUNT)
        settle(journal, SETTLED)
    return path


def log_of(path: Path) -> Path:
    return path / "journal.sqlite-wal"


def database_of(path: Path) -> Path:
    return path / "journal.sqlite"


def kinds_after(path: Path) -> list[ProblemKind]:
    """Open, see that everything that is there is sound and that it can be used, and close."""
    with opened(path) as journal:
        kinds = [problem.kind for problem in journal.problems]
        records = all_unsettled(journal)
        require_sound([record for record in records if not record.is_lost])
        append(journal, 2)
        assert numbers(all_unsettled(journal))[-2:] == [1, 2]
    return kinds


def require_settled_down(path: Path) -> None:
    """See that the next start has nothing to report but what is lost for good."""
    assert set(kinds_after(path)) <= {ProblemKind.LOST_RECORDS}


def test_nothing_is_reported_of_sound_files(killed: Path, stopped: Path) -> None:
    for path in (killed, stopped):
        with opened(path) as journal:
            assert journal.problems == ()
            assert numbers(all_unsettled(journal)) == list(range(SETTLED + 1, COUNT + 1))
        assert set_aside(path) == []


def test_a_damaged_last_write(killed: Path) -> None:
    # The log is as long as what was written to it, so its end is the last write.
    flip(log_of(killed), -100)
    kinds = kinds_after(killed)
    assert kinds[0] is ProblemKind.TORN_TAIL
    (aside,) = set_aside(killed)
    assert aside.endswith("journal.sqlite-wal-tail")
    require_settled_down(killed)


def test_a_log_that_is_cut_short(killed: Path) -> None:
    log = log_of(killed)
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)
    with opened(killed) as journal:
        kinds = {problem.kind for problem in journal.problems}
        records = all_unsettled(journal)
    assert ProblemKind.LOST_RECORDS in kinds
    # What was synced once and is gone has its numbers still.
    assert numbers(records) == list(range(SETTLED + 1, COUNT + 1)) or records[0].number == 1
    assert records[-1].is_lost
    assert records[-1].number == COUNT


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_damage_in_the_middle_of_the_log(killed: Path, share: float) -> None:
    flip(log_of(killed), int(log_of(killed).stat().st_size * share))
    kinds = kinds_after(killed)
    assert kinds[0] is ProblemKind.CORRUPT_FILE
    assert ProblemKind.LOST_RECORDS in kinds
    assert len(set_aside(killed)) == 2
    require_settled_down(killed)


def test_a_damaged_head_of_the_log(killed: Path) -> None:
    flip(log_of(killed), 8)
    assert kinds_after(killed)[0] is ProblemKind.CORRUPT_FILE
    require_settled_down(killed)


def test_a_log_damaged_after_it_was_moved_costs_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "running") as journal:
        append(journal, COUNT)
        journal._upkeep._move_log("PASSIVE")
        shutil.copytree(tmp_path / "running", tmp_path / "killed")
    # SQLite alone would put the older pages of the log before newer ones of the database.
    flip(log_of(tmp_path / "killed"), 20_000)
    with opened(tmp_path / "killed") as journal:
        assert [problem.kind for problem in journal.problems] == [ProblemKind.CORRUPT_FILE]
        assert numbers(all_unsettled(journal)) == list(range(1, COUNT + 1))
        require_sound(all_unsettled(journal))


def test_one_damaged_record_costs_one_record(stopped: Path) -> None:
    epoch = epoch_of(stopped)
    place = database_of(stopped).read_bytes().find(payload_for(epoch, 100))
    flip(database_of(stopped), place + 20)
    with opened(stopped) as journal:
        kinds = [problem.kind for problem in journal.problems]
        records = all_unsettled(journal)
    assert kinds == [ProblemKind.CORRUPT_FILE, ProblemKind.LOST_RECORDS]
    assert [record.number for record in records if record.is_lost] == [100]
    assert numbers(records) == list(range(SETTLED + 1, COUNT + 1))
    require_sound([record for record in records if not record.is_lost])
    assert [name.split("-", 3)[-1] for name in set_aside(stopped)] == ["journal.sqlite"]
    require_settled_down(stopped)


def epoch_of(path: Path) -> str:
    connection = sqlite3.connect(database_of(path))
    try:
        (epoch,) = connection.execute("SELECT epoch FROM epoch ORDER BY key DESC").fetchone()
    finally:
        connection.close()
    return str(epoch)


@pytest.mark.parametrize("page", range(1, 12))
def test_a_page_of_zeros(stopped: Path, page: int) -> None:
    with database_of(stopped).open("r+b") as file:
        file.seek(2048 * page)
        file.write(bytes(2048))
    with opened(stopped) as journal:
        kept = all_kept(journal)
        require_sound(kept)
        problems = journal.problems
        assert len(kept) == COUNT or problems
        append(journal)
    require_settled_down(stopped)


@pytest.mark.parametrize("seed", range(15))
def test_random_damage_is_never_accepted_and_never_stops_a_start(
    stopped: Path, killed: Path, seed: int
) -> None:
    chooser = random.Random(seed)
    for file in (database_of(stopped), database_of(killed), log_of(killed)):
        for _ in range(chooser.randrange(1, 6)):
            size = file.stat().st_size
            flip(file, chooser.randrange(size - 8), chooser.randrange(1, 8))
    for path in (stopped, killed):
        kinds_after(path)
        require_settled_down(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def damage_head(path: Path) -> None:
    flip(path, 0, 100)


def cut_in_half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 17)


@pytest.mark.parametrize("ruin", [empty, overwrite, damage_head])
def test_a_database_that_cannot_be_read(stopped: Path, ruin: Callable[[Path], None]) -> None:
    with opened(stopped) as journal:
        sidecar_id, epoch = journal.sidecar_id, journal.epoch
        append(journal, 3)
    ruin(database_of(stopped))
    with opened(stopped) as journal:
        assert [problem.kind for problem in journal.problems] == [
            ProblemKind.LOST_RECORDS,
            ProblemKind.CORRUPT_FILE,
        ] or journal.problems[0].kind is ProblemKind.CORRUPT_FILE
        # The identity stays, the epoch is a new one and names the one before.
        assert (journal.sidecar_id, journal.predecessor) == (sidecar_id, epoch)
        assert journal.epoch != epoch
        assert all_kept(journal) == []
        append(journal)
    assert [name.split("-", 3)[-1] for name in set_aside(stopped)] == ["journal.sqlite"]
    with opened(stopped) as journal:
        assert len(all_unsettled(journal)) == 1


def test_a_database_cut_in_half(stopped: Path) -> None:
    cut_in_half(database_of(stopped))
    with opened(stopped) as journal:
        assert journal.problems[0].kind is ProblemKind.CORRUPT_FILE
        found = [record for record in all_unsettled(journal) if not record.is_lost]
        require_sound(found)
        assert len(found) > 20
    require_settled_down(stopped)


def test_a_database_that_is_gone(killed: Path) -> None:
    database_of(killed).unlink()
    with opened(killed) as journal:
        assert [problem.kind for problem in journal.problems] == [ProblemKind.LOST_RECORDS]
        assert all_kept(journal) == []
    # Its log is not taken for the log of the new one.
    assert [name.split("-", 3)[-1] for name in set_aside(killed)] == ["journal.sqlite-wal"]


@pytest.mark.parametrize("has_old", [True, False])
def test_a_rebuild_that_was_interrupted(stopped: Path, *, has_old: bool) -> None:
    rebuilt = stopped / "journal-rebuilt.sqlite"
    shutil.copyfile(database_of(stopped), rebuilt)
    (stopped / "journal-salvage").mkdir()
    (stopped / "journal-salvage" / "journal.sqlite").write_bytes(b"half a copy")
    if not has_old:
        database_of(stopped).unlink()
        log_of(stopped).write_bytes(b"the old log")
    with opened(stopped) as journal:
        assert numbers(all_unsettled(journal)) == list(range(SETTLED + 1, COUNT + 1))
        assert journal.problems == ()
    assert not rebuilt.exists()
    assert not (stopped / "journal-salvage").exists()


def test_a_later_format_is_refused(stopped: Path) -> None:
    connection = sqlite3.connect(database_of(stopped))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = database_of(stopped).read_bytes()
    with pytest.raises(FailedPreconditionError, match="later release"), opened(stopped):
        pass
    assert database_of(stopped).read_bytes() == before
    assert set_aside(stopped) == []


def test_damage_found_by_a_read_is_set_aside_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, COUNT)
        connection = sqlite3.connect(database_of(tmp_path))
        connection.execute("UPDATE record SET payload = ? WHERE sequence = 77", (b"other",))
        connection.commit()
        connection.close()
        records = all_unsettled(journal)
        assert [record.number for record in records if record.is_lost] == [77]
        require_sound([record for record in records if not record.is_lost])
        append(journal)
        kinds = [problem.kind for problem in journal.problems]
    assert kinds == [ProblemKind.CORRUPT_FILE, ProblemKind.LOST_RECORDS]
    with opened(tmp_path) as journal:
        assert len(all_unsettled(journal)) == COUNT + 1


def test_damage_found_by_the_upkeep_refuses_appends_until_recover(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, COUNT)
        settle(journal, COUNT)
    with database_of(tmp_path).open("r+b") as file:
        for page in range(8, 40):
            file.seek(2048 * page)
            file.write(b"\xff" * 100)
    with opened(tmp_path) as journal:
        append(journal)
        journal.prune(NOW_MS + 10 * DAY_MS)
        journal.flush()
        with pytest.raises(UnavailableError, match="until its end is read again"):
            append(journal)
        journal.recover(NOW_MS)
        append(journal)
        assert numbers(all_unsettled(journal)) == [1, 2]
        journal.prune(NOW_MS + 10 * DAY_MS)
        journal.flush()
        assert journal.failure == ""
