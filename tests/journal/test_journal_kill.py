"""`kill -9` at any moment loses nothing that was acknowledged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from journal_world import SETTINGS, all_unsettled, numbers, opened, require_sound

from sidecar.journal import Journal, ProblemKind

WRITER = Path(__file__).with_name("journal_writer.py")


class Left(NamedTuple):
    """What a killed writer had said."""

    epoch: str
    acknowledged: int
    settled: int


def write_and_kill(path: Path, lines: int) -> Left:
    environment = {**os.environ, "PYTHONPATH": str(WRITER.parents[2])}
    command = [sys.executable, str(WRITER), str(path), str(1 << 30)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().splitlines(keepends=True)
    assert writer.returncode == -signal.SIGKILL
    words = [line.split() for line in said if line.endswith(b"\n")]
    numbered = [int(word[0]) for word in words if len(word) == 1]
    settled = [int(word[1]) for word in words if word[0] == b"settled"]
    return Left(words[0][1].decode(), max(numbered, default=0), max(settled, default=0))


def require_complete(journal: Journal, left: Left) -> None:
    records = [record for record in all_unsettled(journal) if record.epoch == left.epoch]
    require_sound(records)
    found = numbers(records)
    assert found == list(range(found[0], found[-1] + 1)) if found else not left.acknowledged
    if found:
        # The mark on disk may be behind what was settled, never ahead.
        assert found[0] <= left.settled + 1
        # One more than was said: killed between the write and the word.
        assert left.acknowledged <= found[-1] <= left.acknowledged + 1


@pytest.mark.parametrize("seed", range(3))
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    chooser = random.Random(seed)
    lefts = [write_and_kill(tmp_path / "data", chooser.randrange(1, 1500)) for _ in range(4)]
    with opened(tmp_path / "data") as journal:
        assert not journal.previous_stopped_cleanly
        assert journal.predecessor == lefts[-1].epoch
        for left in lefts:
            require_complete(journal, left)
        kinds = {problem.kind for problem in journal.problems}
    # A write that was cut off is said so; nothing else is wrong after a kill.
    assert kinds <= {ProblemKind.TORN_TAIL}


def test_the_epoch_is_on_disk_before_anything_is_admitted(tmp_path: Path) -> None:
    left = write_and_kill(tmp_path / "data", 1)
    with opened(tmp_path / "data", SETTINGS) as journal:
        assert journal.predecessor == left.epoch
