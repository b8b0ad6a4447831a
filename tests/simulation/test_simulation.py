"""A fixed set of seeds of the simulation; and that it finds every bug that is planted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.planted import PLANTED

ROOT = Path(__file__).parents[2]
SEEDS = 6
SEEDS_TO_FIND = 40
LONGEST_S = 300

pytestmark = pytest.mark.timeout(2 * LONGEST_S)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, where the order of sets is the same each time."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )


def test_nothing_is_lost_doubled_or_overshot() -> None:
    run = simulate("--seeds", str(SEEDS), "--jobs", "2")
    assert run.returncode == 0, run.stderr


def test_a_seed_is_replayed_exactly() -> None:
    first, second = (simulate("--seed", "3", "--steps", "120", "--all") for _ in range(2))
    assert first.stdout.splitlines()
    assert first.stdout == second.stdout
    other = simulate("--seed", "4", "--steps", "120", "--all")
    assert other.stdout != first.stdout


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    run = simulate("--planted", name, "--seeds", str(SEEDS_TO_FIND), "--stop", "--jobs", "2")
    assert run.returncode == 1, run.stderr
    assert "ViolationError" in run.stderr
