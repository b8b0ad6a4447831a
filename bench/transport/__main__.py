"""`python -m bench.transport`: Check and Consume on one pinned core beside a bare echo."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.administration import Administration
from bench.failure import BenchError
from bench.machine import describe_machine, write_section
from bench.processes import Installation, running
from bench.transport.h2load import Load, require_h2load
from bench.transport.measuring import Bench, Plan, Round, Server
from bench.transport.results import TARGET_RATIO, as_json, results_table, throughput_ratio
from bench.transport.subjects import (
    CHECK,
    CONSUME,
    CUSTOMER,
    FEATURE,
    KEYED,
    ask_once,
    running_echo,
    subjects,
)

README: Final = Path(__file__).parents[1] / "README.md"
CATALOG: Final = Path(__file__).with_name("catalog.yaml")
SERVER_CORE: Final = 0
LOAD_CORE: Final = 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000, help="per round, 4 x 16 at a time")
    parser.add_argument("--single-calls", type=int, default=4_000, help="per round, one at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--no-readme", action="store_true", help="print the table, write nothing")
    return parser.parse_args()


def main() -> int:
    """Measure; return the exit code."""
    given = arguments()
    try:
        results, plan = _measured(given)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    content = (
        f"{describe_machine(require_h2load())}.\n\n"
        f"{results_table(results, plan, KEYED)}\n\n{_verdict(results, plan)}"
    )
    print(content)
    if not given.no_readme:
        write_section(README, "transport", content)
    if given.json:
        given.json.write_text(json.dumps(as_json(results), indent=1) + "\n", encoding="utf-8")
    return 0


def _measured(given: argparse.Namespace) -> tuple[Mapping[str, Sequence[Round]], Plan]:
    require_h2load()
    if (os.cpu_count() or 1) <= LOAD_CORE:
        raise BenchError("two cores are needed: one for the server, one for the load")
    # Everything but the servers under test runs beside them: the load, the control plane.
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="weighbridge-bench-") as name:
        plan = Plan(
            rounds=given.rounds,
            together=Load(4, 16, given.calls),
            single=Load(1, 1, given.single_calls),
            keyed=Load(4, 16, given.calls // 2),
            core=LOAD_CORE,
            directory=Path(name),
        )
        return asyncio.run(_bench(plan)), plan


async def _bench(plan: Plan) -> Mapping[str, Sequence[Round]]:
    installation = Installation(plan.directory, sidecar_core=SERVER_CORE)
    with running(installation):
        async with Administration(installation) as administration:
            await administration.apply_catalog(CATALOG.read_text(encoding="utf-8"), CATALOG.name)
            await administration.create_customers([CUSTOMER], "bench")
            sizes = await ask_once(installation.sidecar_address)
            with running_echo(plan.directory, sizes, SERVER_CORE) as (echo_address, echo_pid):
                compared = subjects(installation.sidecar_address, echo_address, sizes)
                sidecar = Server(installation.sidecar.pid, installation.sidecar_probe_port)
                bench = Bench(Server(echo_pid, None), sidecar, plan)
                _tell("warming up")
                await bench.warm_up(compared)
                results = await bench.measure(compared, _tell)
            # One Consume was asked before the load.
            await _require_settled(administration, bench.consumed + 1)
    return results


async def _require_settled(administration: Administration, calls: int) -> None:
    """See that the control plane has each unit that was consumed, once."""
    totals = await administration.settled(calls)
    settled = totals[CUSTOMER, FEATURE]
    if settled != (calls, calls):
        raise BenchError(f"{calls:,} units were consumed, {settled} are settled")
    _tell(f"all {calls:,} units consumed are settled in the control plane")


def _verdict(results: Mapping[str, Sequence[Round]], plan: Plan) -> str:
    ratios = {name: throughput_ratio(results[name]) for name in (CHECK, CONSUME)}
    said = "; ".join(
        f"{name} {ratio:.2f} ({'met' if ratio >= TARGET_RATIO else 'missed'})"
        for name, ratio in ratios.items()
    )
    return (
        f"Medians of {plan.rounds} rounds of {plan.together.calls:,} and {plan.single.calls:,} "
        f"calls. Calls per second against the target of {TARGET_RATIO} times the echo: {said}."
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
