"""What the parts of the lease bench say: medians, ratios, and which targets were met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from bench.leases.calling import Calls
from bench.leases.deciding import Decisions
from bench.leases.draining import LAST, SIDECARS, Drained
from bench.leases.granting import Rates
from bench.leases.steady import Steady
from bench.machine import table

CONSUME_RATIO_MIN: Final = 0.9
WAITED_SHARE_MAX: Final = 0.001


class Measured(NamedTuple):
    """All parts. `granting` has the rounds on each engine."""

    calling: Sequence[Calls]
    deciding: Sequence[Decisions]
    steady: Steady
    drained: Drained
    granting: Mapping[str, Sequence[Rates]]


def consume_ratio(rounds: Sequence[Calls]) -> float:
    """Return the median of each round's calls per second of a leased Consume over Check's."""
    return statistics.median(r.consume_leased.calls_per_s / r.check.calls_per_s for r in rounds)


def calls_table(calling: Sequence[Calls], deciding: Sequence[Decisions]) -> str:
    """Return a Markdown table of Check and Consume."""
    rows = [
        _calls_row("**calls/s through a sidecar**", [_rates_of(r) for r in calling], ",.0f"),
        _calls_row("CPU µs of the sidecar per call", [_cpu_of(r) for r in calling], ".1f"),
        _calls_row("calls/s without transport", deciding, ",.0f"),
    ]
    head = ["", "Check", "Consume, counted", "Consume, leased", "counted / Check", "leased / Check"]
    return table(head, rows)


def granting_table(granting: Mapping[str, Sequence[Rates]]) -> str:
    """Return a Markdown table of what one control plane does on each engine."""
    rows = []
    for title, value_of in _RATES:
        medians = [_median(value_of, rounds) for rounds in granting.values()]
        rows.append([title, *(f"{median:,.0f}" for median in medians)])
    for title, of, over in _RATIOS:
        ratios = [
            statistics.median(of(rates) / over(rates) for rates in rounds)
            for rounds in granting.values()
        ]
        rows.append([title, *(f"{ratio:.2f}" for ratio in ratios)])
    return table(["", *granting], rows)


def sentences(steady: Steady, drained: Drained) -> str:
    """Say what was measured once."""
    said = drained.messages
    return (
        f"Steady load: of {steady.calls:,} calls of {steady.customers:,} customers in "
        f"{steady.seconds:.0f} s, {steady.waited:,} waited for the control plane, "
        f"{steady.waited_share:.3%}; {steady.requests:,} requests asked for leases, most of them "
        f"ahead.\n\nThe last {LAST:,} units, one per call at {SIDECARS} sidecars: "
        f"{drained.seconds:.1f} s, the last hundred of them {drained.end_s:.2f} s; "
        f"{said.requests} requests for units, {said.grants} granted, {said.refusals} refused, "
        f"{said.recalls} leases recalled. {drained.calls_refused} calls were refused before the "
        f"last unit was gone, of which {drained.calls_gave_up} waited too long. Exactly a million "
        "units were admitted, and settled."
    )


def verdict(measured: Measured) -> str:
    """Say of each target whether it was met."""
    ratio, share = consume_ratio(measured.calling), measured.steady.waited_share
    return (
        f"Targets: Consume on a leased limit {ratio:.2f} of Check's calls per second, target "
        f"{CONSUME_RATIO_MIN:g} ({_met(is_met=ratio >= CONSUME_RATIO_MIN)}); {share:.3%} of calls "
        f"waited for the control plane, target < {WAITED_SHARE_MAX:.1%} "
        f"({_met(is_met=share < WAITED_SHARE_MAX)})."
    )


def as_json(measured: Measured) -> dict[str, object]:
    """Return everything measured, for a file."""
    return {
        "calling": [
            {name: side._asdict() for name, side in r._asdict().items()} for r in measured.calling
        ],
        "deciding": [each._asdict() for each in measured.deciding],
        "steady": measured.steady._asdict(),
        "drained": {
            **measured.drained._asdict(),
            "messages": measured.drained.messages._asdict(),
        },
        "granting": {
            engine: [rates._asdict() for rates in rounds]
            for engine, rounds in measured.granting.items()
        },
    }


_RATES: Final[Sequence[tuple[str, Callable[[Rates], float]]]] = (
    ("one hot pool, one grant per transaction, grants/s", lambda r: r.hot_alone),
    ("**one hot pool, grouped, grants/s**", lambda r: r.hot_grouped),
    ("spread over pools, one per transaction, grants/s", lambda r: r.spread_alone),
    ("**spread over pools, grouped, grants/s**", lambda r: r.spread_grouped),
    ("usage without draws, deltas/s", lambda r: r.deltas),
    ("**usage with a draw each, deltas/s**", lambda r: r.deltas_drawn),
)
_RATIOS: Final[Sequence[tuple[str, Callable[[Rates], float], Callable[[Rates], float]]]] = (
    ("hot: grouped / alone", lambda r: r.hot_grouped, lambda r: r.hot_alone),
    ("spread: grouped / alone", lambda r: r.spread_grouped, lambda r: r.spread_alone),
    ("usage: with draws / without", lambda r: r.deltas_drawn, lambda r: r.deltas),
)


def _median(value_of: Callable[[Rates], float], rounds: Sequence[Rates]) -> float:
    return statistics.median(value_of(rates) for rates in rounds)


def _rates_of(calls: Calls) -> Decisions:
    return Decisions(*(side.calls_per_s for side in calls))


def _cpu_of(calls: Calls) -> Decisions:
    return Decisions(*(side.cpu_us for side in calls))


def _calls_row(title: str, rounds: Sequence[Decisions], form: str) -> list[str]:
    medians = [statistics.median(values) for values in zip(*rounds, strict=True)]
    counted = statistics.median(r.consume_counted / r.check for r in rounds)
    leased = statistics.median(r.consume_leased / r.check for r in rounds)
    return [title, *(format(m, form) for m in medians), f"{counted:.2f}", f"{leased:.2f}"]


def _met(*, is_met: bool) -> str:
    return "met" if is_met else "missed"
