"""`python -m bench.catalogs`: from a change to its enforcement, by number of customers."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from bench.administration import Administration
from bench.catalogs.changing import Asking, PlanChange
from bench.catalogs.compiling import SNAPSHOTS_MAX, measure_compiling
from bench.catalogs.population import ADD_ON_EVERY, FEATURES, LIMIT, OVERRIDE_EVERY, seed
from bench.catalogs.results import Measured, Memory, results_table, verdict
from bench.failure import BenchError
from bench.machine import describe_machine, write_section
from bench.processes import Installation, Sidecar, wait_ready
from weighbridge.runtime.clock import wall_ms

README: Final = Path(__file__).parents[1] / "README.md"
SIDECARS: Final = 4
READY_S_MAX: Final = 300.0
_MIB: Final = 1 << 20


class Counts(NamedTuple):
    """How many changes are made at each number of customers."""

    of_plan: int
    of_customers: int


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.catalogs", description=__doc__)
    sizes = [1_000, 10_000, 100_000]
    parser.add_argument("--customers", type=int, nargs="+", default=sizes, metavar="N")
    parser.add_argument("--plan-changes", type=int, default=15, metavar="N")
    parser.add_argument("--customer-changes", type=int, default=400, metavar="N")
    parser.add_argument("--readme", action="store_true", help="put the table into bench/README.md")
    return parser.parse_args()


def main() -> int:
    """Measure; return the exit code."""
    given = arguments()
    counts = Counts(given.plan_changes, given.customer_changes)
    try:
        measured = [_measured(customers, counts) for customers in sorted(given.customers)]
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    content = (
        f"{describe_machine()}.\n\n{results_table(measured)}\n\n"
        f"{SIDECARS} sidecars that hold every customer; {FEATURES} features; of the customers, one "
        f"in {ADD_ON_EVERY} with an add-on and one in {OVERRIDE_EVERY} with an override. "
        f"{counts.of_plan} changes of the plan and {counts.of_customers} of one customer at each "
        f"size; up to {SNAPSHOTS_MAX:,} snapshots compiled.\n\n{verdict(measured)}"
    )
    print(content)
    if given.readme:
        write_section(README, "catalogs", content)
    return 0


def _measured(customers: int, counts: Counts) -> Measured:
    with tempfile.TemporaryDirectory(prefix="weighbridge-bench-") as name:
        directory = Path(name)
        url = f"sqlite:///{directory / 'control-plane.db'}"
        started_s = time.monotonic()
        seed(url, customers, wall_ms())
        _tell(f"{customers:,} customers made in {time.monotonic() - started_s:.1f} s")
        compiled = measure_compiling(url, customers, wall_ms())
        installation = Installation(directory)
        own = (installation.sidecar_address, installation.sidecar_probe_port)
        first = Sidecar(installation.sidecar, *own)
        others = [installation.new_sidecar(f"sidecar-{n}") for n in range(1, SIDECARS)]
        with _running(installation, first) as ready_s:
            _tell(f"  a fresh sidecar is ready after {ready_s:.1f} s")
            held = memory_of(first.process.pid)
            with _started(others):
                changes = asyncio.run(_change(installation, [first, *others], customers, counts))
                asked = memory_of(first.process.pid)
                control_plane = memory_of(installation.control_plane.pid)
    return Measured(customers, ready_s, *changes, held, asked, control_plane, compiled)


@contextmanager
def _running(installation: Installation, sidecar: Sidecar) -> Iterator[float]:
    """Run control plane and first sidecar; how long the sidecar took from its start."""
    with ExitStack() as stack:
        stack.callback(installation.stop)
        installation.control_plane.start()
        installation.wait_control_plane()
        started_s = time.monotonic()
        sidecar.process.start()
        wait_ready(sidecar.process, sidecar.probe_port, READY_S_MAX)
        yield time.monotonic() - started_s


@contextmanager
def _started(sidecars: Sequence[Sidecar]) -> Iterator[None]:
    with ExitStack() as stack:
        for sidecar in sidecars:
            stack.callback(sidecar.process.stop)
            sidecar.process.start()
            wait_ready(sidecar.process, sidecar.probe_port, READY_S_MAX)
        yield


async def _change(
    installation: Installation, sidecars: Sequence[Sidecar], customers: int, counts: Counts
) -> tuple[list[PlanChange], list[float]]:
    metrics_port = installation.control_plane_probe_port
    async with Administration(installation) as administration, Asking(sidecars) as asking:
        # The first of each warms up what is compiled once.
        plan_changes = [
            await asking.change_plan(administration, LIMIT + n, customers, metrics_port)
            for n in range(1, counts.of_plan + 2)
        ]
        _tell(f"  {counts.of_plan} changes of the plan")
        customer_changes = [
            await asking.change_customer(administration, n, customers)
            for n in range(counts.of_customers + 1)
        ]
        _tell(f"  {counts.of_customers} changes of one customer")
        await asking.ask_all(customers)
    return plan_changes[1:], customer_changes[1:]


def memory_of(pid: int) -> Memory:
    """Return what a process holds."""
    found = psutil.Process(pid).memory_full_info()
    return Memory(found.rss / _MIB, found.pss / _MIB)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
