"""`python -m bench.usage`: usage settled per second, statements as events pile up, and disk."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.failure import BenchError
from bench.machine import describe_machine, table, write_section
from bench.usage.measuring import Costs, measure_usage, size_of_files, size_of_postgresql
from tests.postgresql_server import running_server

README: Final = Path(__file__).parents[1] / "README.md"
DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "autovacuum": "on"}
DELTAS_TARGET: Final = 50_000
KEYED_TARGET: Final = 10_000


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each rate")
    parser.add_argument(
        "--events", type=int, nargs="+", default=[100_000, 1_000_000], help="of one customer"
    )
    parser.add_argument("--no-readme", action="store_true", help="print the table, write nothing")
    return parser.parse_args()


def main() -> int:
    """Measure; return the exit code."""
    given = arguments()
    try:
        costs = _measured(given.seconds, sorted(given.events))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    content = f"{describe_machine()}.\n\n{costs_table(costs)}\n\n{verdict(costs)}"
    print(content)
    if not given.no_readme:
        write_section(README, "usage", content)
    return 0


def _measured(seconds: float, sizes: list[int]) -> dict[str, Costs]:
    with tempfile.TemporaryDirectory(prefix="weighbridge-bench-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'db'}"
        costs = {"SQLite": measure_usage(url, size_of_files(folder), seconds, sizes)}
    with running_server(DURABLE) as server, server.new_database() as fresh:
        url = fresh.render_as_string(hide_password=False)
        costs["PostgreSQL"] = measure_usage(url, size_of_postgresql, seconds, sizes)
    return costs


def costs_table(costs: Mapping[str, Costs]) -> str:
    """Return the figures as a table."""
    rows = [
        ["usage deltas settled per second", *(f"{c.deltas:,.0f}" for c in costs.values())],
        ["events with fleet-wide keys per second", *(f"{c.keyed:,.0f}" for c in costs.values())],
    ]
    for size in next(iter(costs.values())).statement_s:
        name = f"statement of a customer with {size:,} events, s"
        rows.append([name, *(f"{c.statement_s[size]:.2f}" for c in costs.values())])
        name = f"one day of {size:,}, by hour and model, ms"
        rows.append([name, *(f"{c.day_s[size] * 1_000:.0f}" for c in costs.values())])
    sizes = (f"{c.bytes_per_event * 1e6 / 2**20:,.0f}" for c in costs.values())
    rows.append(["disk per million events, indexes and totals included, MiB", *sizes])
    return table(["", *costs], rows)


def verdict(costs: Mapping[str, Costs]) -> str:
    """Say which targets are met."""
    parts = []
    for what, target, found in (
        ("usage deltas", DELTAS_TARGET, {name: c.deltas for name, c in costs.items()}),
        ("keyed events", KEYED_TARGET, {name: c.keyed for name, c in costs.items()}),
    ):
        missed = [name for name, rate in found.items() if rate < target]
        how = f"missed on {' and '.join(missed)}" if missed else "met"
        parts.append(f"{what} at least {target:,} a second: {how}")
    return f"Targets: {'; '.join(parts)}."


if __name__ == "__main__":
    raise SystemExit(main())
