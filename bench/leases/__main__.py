"""`python -m bench.leases`: what leases cost, from one call to a million units."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from bench.failure import BenchError
from bench.leases import steady
from bench.leases.calling import Cores, measure_calling
from bench.leases.deciding import CALLS_PER_BATCH, measure_deciding
from bench.leases.draining import measure_draining
from bench.leases.granting import REQUESTS_WAITING, Effort, Rates, measure_granting
from bench.leases.results import (
    Measured,
    as_json,
    calls_table,
    granting_table,
    sentences,
    verdict,
)
from bench.leases.steady import measure_steady
from bench.machine import describe_machine, write_section
from bench.transport.h2load import Load, require_h2load
from tests.postgresql_server import PostgresServer, running_server

README: Final = Path(__file__).parents[1] / "README.md"
CORES: Final = Cores(server=0, load=1)
STEADY: Final = steady.Load(customers=1_000, warm_up_s=65.0, seconds=25.0)
"""It warms up until what is idle is given back."""

QUICK: Final = steady.Load(customers=200, warm_up_s=5.0, seconds=5.0)
DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "autovacuum": "on"}
"""What tests do without: here a commit is on the disk, as SQLite's is."""

T = TypeVar("T")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.leases", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of calls")
    parser.add_argument("--calls", type=int, default=8_000, help="per round and method")
    parser.add_argument("--granting-rounds", type=int, default=3)
    parser.add_argument("--granting-s", type=float, default=1.0, help="for each figure")
    parser.add_argument("--pools", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="a short steady load, few customers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--no-readme", action="store_true", help="print the tables, write nothing")
    return parser.parse_args()


def main() -> int:
    """Measure; return the exit code."""
    given = arguments()
    try:
        h2load = require_h2load()
        measured = _measured(given)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    content = _content(given, measured, h2load)
    print(content)
    if not given.no_readme:
        write_section(README, "leases", content)
    if given.json:
        given.json.write_text(json.dumps(as_json(measured), indent=1) + "\n", encoding="utf-8")
    return 0


def _content(given: argparse.Namespace, measured: Measured, h2load: str) -> str:
    return (
        f"{describe_machine(h2load)}.\n\n"
        f"{calls_table(measured.calling, measured.deciding)}\n\n"
        f"Medians of {given.rounds} rounds of {given.calls:,} calls; without transport in batches "
        f"of {CALLS_PER_BATCH}.\n\n{sentences(measured.steady, measured.drained)}\n\n"
        f"{granting_table(measured.granting)}\n\n"
        f"Medians of {given.granting_rounds} rounds of {given.granting_s:g} s for each figure; "
        f"spread over {given.pools:,} pools; grouped with {REQUESTS_WAITING:,} requests waiting "
        f"at a time. PostgreSQL and SQLite commit to the disk.\n\n{verdict(measured)}"
    )


def _measured(given: argparse.Namespace) -> Measured:
    # The slowest first: what is to be known before it ends is known early.
    granting = _granting(given)
    _tell("many customers under a steady load")
    load = QUICK if given.quick else STEADY
    steadily = _in_directory(lambda folder: asyncio.run(measure_steady(folder, load)))
    _tell("a pool of a million units, eight sidecars")
    drained = _in_directory(lambda folder: asyncio.run(measure_draining(folder)))
    _tell("Check and Consume without transport")
    deciding = _in_directory(lambda folder: measure_deciding(folder, given.rounds, given.calls))
    _tell("Check and Consume through a sidecar")
    with _pinned():
        calling = _in_directory(
            lambda folder: asyncio.run(
                measure_calling(folder, CORES, given.rounds, Load(4, 16, given.calls))
            )
        )
    return Measured(calling, deciding, steadily, drained, granting)


def _granting(given: argparse.Namespace) -> dict[str, list[Rates]]:
    """Measure the engines in turn, each time on a database that is new."""
    effort = Effort(given.granting_s, given.pools)
    rates: dict[str, list[Rates]] = {"SQLite": [], "PostgreSQL": []}
    with running_server(DURABLE) as server:
        for number in range(given.granting_rounds):
            _tell(f"grants, round {number + 1} of {given.granting_rounds}")
            rates["SQLite"].append(
                _in_directory(lambda folder: measure_granting(f"sqlite:///{folder / 'db'}", effort))
            )
            rates["PostgreSQL"].append(_on_postgresql(server, effort))
    return rates


def _on_postgresql(server: PostgresServer, effort: Effort) -> Rates:
    with server.new_database() as url:
        return measure_granting(url.render_as_string(hide_password=False), effort)


def _in_directory(measure: Callable[[Path], T]) -> T:
    with tempfile.TemporaryDirectory(prefix="weighbridge-bench-") as name:
        return measure(Path(name))


@contextmanager
def _pinned() -> Iterator[None]:
    """Run everything but the sidecar on the core of the load."""
    if (os.cpu_count() or 1) <= CORES.load:
        raise BenchError("two cores are needed: one for the sidecar, one for the load")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES.load})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
