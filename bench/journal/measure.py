"""Measures one append per engine and record size, interleaved, and prints medians as a table."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from engines import ENGINES, Engine, Maintenance

SIZES_BYTES = (150, 4096, 20480)
_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Sample:
    """One run of one engine: microseconds, except where the name says otherwise."""

    appends: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    read_256_us: float
    bytes_per_record: float


def run_once(name: str, size_bytes: int, seconds: float, rate: int, *, beside: bool) -> Sample:
    """Append for a while at a rate (0: back to back), and time each append."""
    payload = os.urandom(size_bytes)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        engine = ENGINES[name](Path(folder))
        maintenance = Maintenance(engine, _INTERVAL_S)
        stop = threading.Event()
        spinner = threading.Thread(target=_spin, args=(stop,), daemon=True)
        if beside:
            spinner.start()
        taken = _append_for(engine, payload, seconds, rate)
        stop.set()
        maintenance.stop()
        size = sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*"))
        read_us = _time_reads(engine, len(taken))
        engine.close()
    taken.sort()
    return Sample(
        appends=len(taken),
        p50_us=_quantile(taken, 0.5),
        p99_us=_quantile(taken, 0.99),
        p999_us=_quantile(taken, 0.999),
        max_us=taken[-1] / 1000,
        read_256_us=read_us,
        bytes_per_record=size / len(taken),
    )


def _spin(stop: threading.Event) -> None:
    """Hold the GIL as another busy Python thread would."""
    while not stop.is_set():
        sum(range(1000))


def _append_for(engine: Engine, payload: bytes, seconds: float, rate: int) -> list[int]:
    taken: list[int] = []
    clock = time.perf_counter_ns
    start = clock()
    end = start + int(seconds * 1e9)
    while (before := clock()) < end:
        engine.append(payload)
        taken.append(clock() - before)
        if rate:
            due = start + len(taken) * 1_000_000_000 // rate
            time.sleep(max(0, due - clock()) / 1e9)
    return taken


def _time_reads(engine: Engine, records: int) -> float:
    taken: list[int] = []
    for first in range(1, max(2, records - 256), max(1, records // 50)):
        before = time.perf_counter_ns()
        engine.read_range(first, 256)
        taken.append(time.perf_counter_ns() - before)
    return statistics.median(taken) / 1000


def _quantile(ordered: list[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rate", type=int, default=0, help="appends per second; 0: back to back")
    parser.add_argument("--beside", action="store_true", help="a busy Python thread runs beside")
    parser.add_argument("--engines", nargs="*", default=list(ENGINES))
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES_BYTES))
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "BYTES"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[tuple[int, str], list[dict[str, float]]]:
    """Run every engine once per round, each in a fresh process, so that noise spreads evenly."""
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for size in options.sizes:
            for name in options.engines:
                command = [sys.executable, __file__, "--one", name, str(size)]
                command += ["--seconds", str(options.seconds), "--rate", str(options.rate)]
                command += ["--beside"] if options.beside else []
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.setdefault((size, name), []).append(json.loads(done.stdout))
    return found


def main() -> None:
    """Print one row per size and engine: the median of each figure over the rounds."""
    options = _arguments()
    if options.one:
        name, size = options.one
        sample = run_once(name, int(size), options.seconds, options.rate, beside=options.beside)
        print(json.dumps(asdict(sample)))
        return
    found = _measure(options)
    print(
        "| bytes | engine | appends/s | p50 µs | p99 µs | p99.9 µs | max ms | read 256 µs", end=""
    )
    print(" | disk bytes/record |\n|---|---|---|---|---|---|---|---|---|")
    for (size, name), samples in sorted(found.items()):
        middle = {key: statistics.median(one[key] for one in samples) for key in samples[0]}
        print(
            f"| {size} | {name} | {middle['appends'] / options.seconds:,.0f}"
            f" | {middle['p50_us']:.1f} | {middle['p99_us']:.1f} | {middle['p999_us']:.0f}"
            f" | {middle['max_us'] / 1000:.1f} | {middle['read_256_us']:.0f}"
            f" | {middle['bytes_per_record']:,.0f} |"
        )


if __name__ == "__main__":
    main()
