"""The last snapshots on disk: what is saved comes back, what is damaged does not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from journal_world import NOW_MS, flip, set_aside

from sidecar.journal import DataDirectory, ProblemKind
from sidecar.snapshot_store import SnapshotStore, StoredSnapshot
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

FILE = "snapshots.sqlite"


@contextmanager
def opened(path: Path) -> Iterator[tuple[SnapshotStore, DataDirectory]]:
    with DataDirectory(path, NOW_MS) as directory:
        store = SnapshotStore(directory, NOW_MS)
        try:
            yield store, directory
        finally:
            store.close()


def snapshot(number: int, version: int = 1) -> StoredSnapshot:
    payload = f"payload of {number} at {version};".encode() * (1 + number % 7 * 20)
    return StoredSnapshot("customer", f"customer-{number}", version, payload)


def fill(path: Path, count: int = 400) -> None:
    with opened(path) as (store, _):
        store.save([snapshot(n) for n in range(count)], meta={"held_revision": "77"})


def by_id(store: SnapshotStore) -> dict[tuple[str, str], StoredSnapshot]:
    return {(found.kind, found.id): found for found in store.load_all()}


def test_a_new_store_is_empty(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, directory):
        assert list(store.load_all()) == []
        assert store.meta() == {}
        assert directory.problems.last() == ()
    assert not set_aside(tmp_path)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    fill(tmp_path, 1000)
    with opened(tmp_path) as (store, directory):
        assert sorted(store.load_all()) == sorted(snapshot(n) for n in range(1000))
        assert store.meta() == {"held_revision": "77"}
        assert directory.problems.last() == ()


def test_replacing_removing_and_values_are_one_step(tmp_path: Path) -> None:
    fill(tmp_path, 10)
    with opened(tmp_path) as (store, _):
        store.save(
            put=[snapshot(3, version=9), StoredSnapshot("catalog", "customer-3", 0, b"")],
            remove=[("customer", "customer-4"), ("customer", "nobody")],
            meta={"held_revision": "78", "saved_at": "1"},
        )
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store._connection.execute("PRAGMA busy_timeout = 1").fetchall()
        with pytest.raises(UnavailableError, match="locked"):
            store.save([snapshot(5, version=10)])
        other.execute("ROLLBACK")
        other.close()
        store.save([snapshot(6)])
    with opened(tmp_path) as (store, _):
        found = by_id(store)
        assert found["customer", "customer-3"] == snapshot(3, version=9)
        assert found["customer", "customer-5"] == snapshot(5)
        assert found["catalog", "customer-3"].payload == b""
        assert ("customer", "customer-4") not in found
        assert len(found) == 10
        assert store.meta() == {"held_revision": "78", "saved_at": "1"}


def test_another_thread_may_save_while_one_reads(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        store.save([snapshot(n) for n in range(600)])
        errors: list[BaseException] = []

        def save() -> None:
            try:
                for version in range(2, 30):
                    store.save([snapshot(n, version) for n in range(0, 600, 60)])
            except BaseException as error:
                errors.append(error)
                raise

        writer = threading.Thread(target=save)
        writer.start()
        while writer.is_alive():
            assert len({found.id for found in store.load_all()}) == 600
        writer.join()
        assert errors == []


@pytest.mark.parametrize("seed", range(20))
def test_damage_is_set_aside_and_never_accepted(tmp_path: Path, seed: int) -> None:
    fill(tmp_path)
    chooser = random.Random(seed)
    size = (tmp_path / FILE).stat().st_size
    for _ in range(chooser.randrange(1, 4)):
        flip(tmp_path / FILE, chooser.randrange(size - 8), chooser.randrange(1, 8))
    known = {snapshot(n) for n in range(400)}
    with opened(tmp_path) as (store, directory):
        found = set(store.load_all())
        assert found <= known
        if found != known:
            (problem,) = directory.problems.last()
            assert problem.kind is ProblemKind.CORRUPT_SNAPSHOT
            assert set_aside(tmp_path)
            # "Everything up to this revision is held" would not be so.
            assert store.meta() == {}
        store.save([snapshot(n, 2) for n in range(400)], meta={"held_revision": "80"})
    with opened(tmp_path) as (store, directory):
        assert len(list(store.load_all())) == 400
        assert store.meta() == {"held_revision": "80"}
        assert directory.problems.last() == ()


def test_one_damaged_row_costs_one_snapshot(tmp_path: Path) -> None:
    fill(tmp_path)
    place = (tmp_path / FILE).read_bytes().find(b"payload of 123 at 1")
    flip(tmp_path / FILE, place)
    with opened(tmp_path) as (store, directory):
        missing = {snapshot(n) for n in range(400)} - set(store.load_all())
        assert missing == {snapshot(123)}
        assert "(1 rows)" in directory.problems.last()[0].detail
    assert len(set_aside(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"", b"no database " * 1000])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path)
    (tmp_path / FILE).write_bytes(content)
    with opened(tmp_path) as (store, directory):
        assert list(store.load_all()) == []
        assert [p.kind for p in directory.problems.last()] == [ProblemKind.CORRUPT_SNAPSHOT]
    (aside,) = set_aside(tmp_path)
    assert (tmp_path / aside).read_bytes() == content


def test_a_damaged_log_takes_the_values_with_it(tmp_path: Path) -> None:
    with opened(tmp_path / "running") as (store, _):
        for n in range(50):
            store.save([snapshot(n)], meta={"held_revision": str(n)})
        shutil.copytree(tmp_path / "running", tmp_path / "killed")
    flip(tmp_path / "killed" / f"{FILE}-wal", 50_000)
    with opened(tmp_path / "killed") as (store, directory):
        assert set(store.load_all()) <= {snapshot(n) for n in range(50)}
        assert store.meta() == {}
        assert directory.problems.last()[0].kind is ProblemKind.CORRUPT_SNAPSHOT


def test_damage_while_running_is_reported_and_left_for_the_next_start(tmp_path: Path) -> None:
    count = 10_000
    fill(tmp_path, count)
    with opened(tmp_path) as (store, directory):
        size = (tmp_path / FILE).stat().st_size
        with (tmp_path / FILE).open("r+b") as file:
            file.seek(size // 4)
            file.write(b"\xaa" * (size // 2))
        with pytest.raises(UnavailableError, match=r"snapshots\.sqlite"):
            list(store.load_all())
        with pytest.raises(UnavailableError, match="next start"):
            store.save([snapshot(1)])
        assert directory.problems.last()[0].kind is ProblemKind.CORRUPT_SNAPSHOT
    with opened(tmp_path) as (store, _):
        found = set(store.load_all())
        assert found <= {snapshot(n) for n in range(count)}
        assert store.meta() == {}


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FailedPreconditionError, match="later release"), opened(tmp_path):
        pass


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        pass
    with pytest.raises(UnavailableError, match="closed"):
        store.save([snapshot(1)])


WRITER = """
import os, sys
from pathlib import Path
from sidecar.journal import DataDirectory
from sidecar.snapshot_store import SnapshotStore
store = SnapshotStore(DataDirectory(Path(sys.argv[1]), 1), 1)
turn = 0
while True:
    turn += 1
    text = str(turn).encode() * 500
    store.save([("customer", str(n), turn, text) for n in range(5)], meta={"turn": str(turn)})
    os.write(1, b"%d\\n" % turn)
"""


def test_a_kill_leaves_whole_steps(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    for lines in (1, 40, 300):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
        ) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline() for _ in range(lines)]
            writer.send_signal(signal.SIGKILL)
            said += writer.stdout.read().splitlines(keepends=True)
        last = int([line for line in said if line.endswith(b"\n")][-1])
        with opened(tmp_path) as (store, directory):
            turn = int(store.meta()["turn"])
            assert turn in (last, last + 1)
            assert {found.version for found in store.load_all()} == {turn}
            assert directory.problems.last() == ()
