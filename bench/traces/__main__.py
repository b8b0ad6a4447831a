"""`python -m bench.traces --data DIR`: real traces through a sidecar, and every total checked."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.administration import Administration, Total
from bench.failure import BenchError
from bench.machine import describe_machine, table, write_section
from bench.processes import Installation, running
from bench.traces.crashes import Crashes
from bench.traces.driving import Driver, Progress
from bench.traces.expected import (
    PUBLISHED,
    Key,
    differences,
    expected_totals,
    published_differences,
)
from bench.traces.reading import TRACES, Trace

README: Final = Path(__file__).parents[1] / "README.md"
CATALOG: Final = Path(__file__).with_name("catalog.yaml")
PLAN: Final = "replay"
_SHOWN_MAX: Final = 10
_HEAD: Final = [
    "trace",
    "customers",
    "totals that must come out",
    "calls",
    "repeated",
    "known already",
    "s",
    "calls/s",
    "settled after, s",
    "wrong",
]


class Driven(NamedTuple):
    """One trace, sent."""

    progress: Progress
    sent_s: float
    settled_s: float


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.traces", description=__doc__)
    names = [trace.name for trace in TRACES]
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="with the files")
    parser.add_argument("--kill", action="store_true", help="kill -9 both processes on the way")
    parser.add_argument("--in-flight", type=int, default=48, help="calls at a time")
    parser.add_argument("--trace", choices=names, action="append", help="only this; repeatable")
    parser.add_argument("--readme", action="store_true", help="put the table into bench/README.md")
    return parser.parse_args()


def main() -> int:
    """Drive the traces; return 1 where any total is not what it must be."""
    given = arguments()
    traces = [trace for trace in TRACES if not given.trace or trace.name in given.trace]
    try:
        with tempfile.TemporaryDirectory(prefix="weighbridge-traces-") as directory:
            content, wrong = asyncio.run(_replay(traces, given, Installation(Path(directory))))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(content)
    for line in wrong[:_SHOWN_MAX]:
        print(f"wrong: {line}", file=sys.stderr)
    if wrong:
        return 1
    if given.readme:
        write_section(README, "traces-killed" if given.kill else "traces-plain", content)
    return 0


async def _replay(
    traces: Sequence[Trace], given: argparse.Namespace, installation: Installation
) -> tuple[str, list[str]]:
    """Send all traces; return what to print, and what is wrong."""
    expected = {trace.name: expected_totals(trace, given.data) for trace in traces}
    crashes = Crashes(installation, _tell) if given.kill else None
    driven: dict[str, Driven] = {}
    with running(installation):
        async with (
            Administration(installation) as administration,
            Driver(installation.sidecar_address, given.in_flight) as driver,
        ):
            await administration.apply_catalog(CATALOG.read_text(encoding="utf-8"), CATALOG.name)
            for trace in traces:
                _tell(f"{trace.name}:")
                totals = expected[trace.name]
                await _make_customers(administration, driver, totals)
                calls = sum(total.calls for total in totals.values())
                interruptions = crashes.on_the_way(calls) if crashes else []
                started_s = time.monotonic()
                progress = await driver.drive(trace.usage(given.data), interruptions)
                sent_s = time.monotonic() - started_s
                _tell(f"  {progress.answered:,} calls answered in {sent_s:.1f} s")
                calls += sum(one.progress.answered for one in driven.values())
                await administration.settled(calls)
                settled_s = time.monotonic() - started_s - sent_s
                driven[trace.name] = Driven(progress, sent_s, settled_s)
            found = await administration.totals()
    wrong = {name: _wrong(name, totals, found) for name, totals in expected.items()}
    content = f"{describe_machine()}.\n\n{_results(driven, expected, wrong)}"
    if crashes:
        content += f"\n\n{crashes.summary()}"
    known = {key for totals in expected.values() for key in totals}
    stray = [f"{key}: usage that no trace has" for key in sorted(found.keys() - known)]
    return content, [line for lines in wrong.values() for line in lines] + stray


async def _make_customers(
    administration: Administration, driver: Driver, totals: Mapping[Key, Total]
) -> None:
    features = dict(totals.keys())
    started_s = time.monotonic()
    await administration.create_customers(features, PLAN)
    await driver.wait_known(features.items())
    _tell(f"  {len(features):,} customers made in {time.monotonic() - started_s:.1f} s")


def _wrong(name: str, expected: Mapping[Key, Total], found: Mapping[Key, Total]) -> list[str]:
    own = {key: total for key, total in found.items() if key in expected}
    return differences(expected, own) + published_differences(PUBLISHED[name], own)


def _results(
    driven: Mapping[str, Driven],
    expected: Mapping[str, Mapping[Key, Total]],
    wrong: Mapping[str, Sequence[str]],
) -> str:
    rows = []
    for name, (progress, sent_s, settled_s) in driven.items():
        sums: Counter[str] = Counter()
        for (_, feature), total in expected[name].items():
            sums[feature] += total.amount
        rows.append(
            [
                name,
                f"{len({customer for customer, _ in expected[name]}):,}",
                ", ".join(f"{feature} {amount:,}" for feature, amount in sums.items()),
                f"{progress.answered:,}",
                f"{progress.retries:,}",
                f"{progress.replayed:,}",
                f"{sent_s:.1f}",
                f"{progress.answered / sent_s:,.0f}",
                f"{settled_s:.1f}",
                f"{len(wrong[name])}",
            ]
        )
    return table(_HEAD, rows)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
