"""What the rounds say: medians, and the ratio of each round's pair."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from bench.machine import table
from bench.transport.measuring import Plan, Round, Sample

TARGET_RATIO: Final = 0.8
_HEAD: Final = ["", "echo", "sidecar", "sidecar / echo", "of each round"]


def throughput_ratio(rounds: Sequence[Round]) -> float:
    """Return the median, over the rounds, of the sidecar's calls per second over the echo's."""
    return statistics.median(_ratios(rounds, "calls_per_s"))


def results_table(results: Mapping[str, Sequence[Round]], plan: Plan, keyed: str) -> str:
    """Return a Markdown table of medians. `keyed` names the subject without a saturating load."""
    together, single = plan.together, plan.single
    loaded = f"{together.connections} x {together.streams}"
    alone = f"{single.connections} x {single.streams}"
    rows = []
    for name, rounds in results.items():
        if name != keyed:
            rows += [
                _row(f"**{name}**, calls/s, {loaded}", rounds, "calls_per_s", ",.0f"),
                _row(f"{name}, CPU µs per call, {loaded}", rounds, "cpu_us", ".1f"),
                _row(f"{name}, mean ms, {alone}", rounds, "mean_ms", ".3f"),
                _row(f"{name}, p99 ms, {alone}", rounds, "p99_ms", ".3f"),
            ]
        else:
            rows.append(_row(f"**{name}**, CPU µs per call", rounds, "cpu_us", ".1f"))
    return table(_HEAD, rows)


def as_json(results: Mapping[str, Sequence[Round]]) -> dict[str, list[dict[str, object]]]:
    """Return every sample, for a file."""
    return {
        name: [{"echo": pair.echo._asdict(), "sidecar": pair.sidecar._asdict()} for pair in rounds]
        for name, rounds in results.items()
    }


def _row(title: str, rounds: Sequence[Round], field: str, form: str) -> list[str]:
    echo = statistics.median(_values([pair.echo for pair in rounds], field))
    sidecar = statistics.median(_values([pair.sidecar for pair in rounds], field))
    ratios = _ratios(rounds, field)
    return [
        title,
        format(echo, form),
        format(sidecar, form),
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
    ]


def _ratios(rounds: Sequence[Round], field: str) -> list[float]:
    echo = _values([pair.echo for pair in rounds], field)
    sidecar = _values([pair.sidecar for pair in rounds], field)
    return [own / bare for own, bare in zip(sidecar, echo, strict=True)]


def _values(samples: Sequence[Sample], field: str) -> list[float]:
    return [getattr(sample, field) for sample in samples]
