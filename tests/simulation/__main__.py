"""`python -m tests.simulation --seed 7 --steps 300` replays one; without --seed, it runs many."""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import signal
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.planted import PLANTED
from tests.simulation.running import STEPS, Run, run_seed

LINES_SHOWN = 40


def main() -> int:
    arguments = _arguments()
    console = Console(stderr=True)
    if arguments.seed is not None:
        return _replay(arguments, console)
    failed = _run_many(arguments, console)
    for run in failed:
        console.print(f"seed {run.seed}: {run.failure}", markup=False)
        console.print(
            f"  replay: python -m tests.simulation --seed {run.seed} --steps {run.steps}",
            markup=False,
        )
    console.print(f"{arguments.seeds} seeds of {arguments.steps} steps, {len(failed)} failed")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, and tell what happened")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=100, help="how many to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--planted", choices=sorted(PLANTED), help="with this bug planted")
    parser.add_argument("--stop", action="store_true", help="at the first that fails")
    parser.add_argument("--all", action="store_true", help="of a replay, show every line")
    return parser.parse_args()


def _replay(arguments: argparse.Namespace, console: Console) -> int:
    run = _run_one(arguments.seed, arguments.steps, arguments.planted)
    for line in run.lines if arguments.all else run.lines[-LINES_SHOWN:]:
        print(line)
    for answer, count in run.answers.items():
        print(f"{count:>6} {answer}")
    print(f"trace {run.trace}")
    if run.failure:
        console.print(run.failure, style="red", markup=False)
    return 1 if run.failure else 0


def _run_one(seed: int, steps: int, planted: str | None) -> Run:
    if planted is None:
        return run_seed(seed, steps)
    with PLANTED[planted]():
        return run_seed(seed, steps)


def _run_many(arguments: argparse.Namespace, console: Console) -> list[Run]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    failed: list[Run] = []
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    run_one = functools.partial(_run_one, steps=arguments.steps, planted=arguments.planted)
    with (
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
        # Left, it ends its workers: nobody waits for the seeds beside the one that failed.
        multiprocessing.Pool(arguments.jobs, _exit_when_terminated) as pool,
    ):
        bar = progress.add_task("simulating", total=len(seeds))
        for run in pool.imap_unordered(run_one, seeds):
            if run.failure:
                failed.append(run)
            progress.update(bar, advance=1, description=f"simulating, {len(failed)} failed")
            if failed and arguments.stop:
                break
    return sorted(failed)


def _exit_when_terminated() -> None:
    """Unwind, so that a worker's directory is removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets is part of what is replayed.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], environment
        )
    sys.exit(main())
