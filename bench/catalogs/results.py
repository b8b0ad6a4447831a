"""What was measured at each number of customers, and how it grows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bench.catalogs.changing import PlanChange
from bench.catalogs.compiling import Compiled
from bench.machine import table

CUSTOMER_CHANGE_MS_MAX: Final = 50.0
COMPILED_PER_S_MIN: Final = 5_000
SIDECAR_MIB_MAX: Final = 64
SIDECAR_CUSTOMERS: Final = 10_000
GROWTH_MAX: Final = 2.0
"""What a plan change may take longer with 100 times the customers: noise, not growth."""


class Memory(NamedTuple):
    """Resident and proportional set size of a process, in MiB."""

    rss_mib: float
    pss_mib: float


class Measured(NamedTuple):
    """Everything at one number of customers."""

    customers: int
    ready_s: float
    plan_changes: Sequence[PlanChange]
    customer_changes_ms: Sequence[float]
    held: Memory
    asked: Memory
    control_plane: Memory
    compiled: Compiled

    @property
    def enforced_ms(self) -> list[float]:
        """Every sidecar's time of every plan change."""
        return [ms for change in self.plan_changes for ms in change.enforced_ms]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that at least this share of all values does not pass."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


_ROWS: Final[Sequence[tuple[str, Callable[[Measured], float], str]]] = (
    (
        "plan change: the transaction, ms, median",
        lambda m: statistics.median(c.transaction_ms for c in m.plan_changes),
        ".1f",
    ),
    (
        "plan change: the ApplyCatalog call, ms, median",
        lambda m: statistics.median(c.call_ms for c in m.plan_changes),
        ".1f",
    ),
    (
        "**plan change: apply to enforced, ms, median**",
        lambda m: statistics.median(m.enforced_ms),
        ".1f",
    ),
    ("plan change: apply to enforced, ms, slowest", lambda m: max(m.enforced_ms), ".1f"),
    (
        "one customer's change to enforced, ms, median",
        lambda m: statistics.median(m.customer_changes_ms),
        ".1f",
    ),
    (
        "**one customer's change to enforced, ms, p99**",
        lambda m: percentile(m.customer_changes_ms, 0.99),
        ".1f",
    ),
    ("a fresh sidecar is ready after, s", lambda m: m.ready_s, ".1f"),
    ("sidecar, all held: RSS, MiB", lambda m: m.held.rss_mib, ".0f"),
    ("sidecar, all held: PSS, MiB", lambda m: m.held.pss_mib, ".0f"),
    ("**sidecar, all asked for: RSS, MiB**", lambda m: m.asked.rss_mib, ".0f"),
    ("sidecar, all asked for: PSS, MiB", lambda m: m.asked.pss_mib, ".0f"),
    ("control plane: RSS, MiB", lambda m: m.control_plane.rss_mib, ".0f"),
    ("snapshots per CPU second, database to bytes", lambda m: m.compiled.loaded_per_s, ",.0f"),
    ("snapshots per CPU second, bytes to grants", lambda m: m.compiled.granted_per_s, ",.0f"),
)


def results_table(measured: Sequence[Measured]) -> str:
    """Return a Markdown table: a column for each number of customers, and the growth."""
    head = ["", *(f"{each.customers:,}" for each in measured), "last / first"]
    rows = []
    for title, value_of, form in _ROWS:
        values = [value_of(each) for each in measured]
        growth = f"{values[-1] / values[0]:.1f}"
        rows.append([title, *(format(value, form) for value in values), growth])
    return table(head, rows)


def verdict(measured: Sequence[Measured]) -> str:
    """Say of each target whether it was met."""
    first, last = measured[0], measured[-1]
    growth = statistics.median(last.enforced_ms) / statistics.median(first.enforced_ms)
    slowest_ms = max(percentile(each.customer_changes_ms, 0.99) for each in measured)
    compiled_per_s = min(
        min(each.compiled.loaded_per_s, each.compiled.granted_per_s) for each in measured
    )
    plan = (
        f"a plan change takes {growth:.1f} times as long with {last.customers:,} customers as "
        f"with {first.customers:,}, target: no growth ({_met(is_met=growth <= GROWTH_MAX)})"
    )
    one = (
        f"one customer's change p99 {slowest_ms:.1f} ms, target < {CUSTOMER_CHANGE_MS_MAX:g} "
        f"({_met(is_met=slowest_ms < CUSTOMER_CHANGE_MS_MAX)})"
    )
    compiled = (
        f"{compiled_per_s:,.0f} snapshots per CPU second, target {COMPILED_PER_S_MIN:,} "
        f"({_met(is_met=compiled_per_s >= COMPILED_PER_S_MIN)})"
    )
    said = [plan, one, compiled]
    for each in measured:
        if each.customers == SIDECAR_CUSTOMERS:
            is_met = each.asked.rss_mib < SIDECAR_MIB_MAX
            said.append(
                f"sidecar with {SIDECAR_CUSTOMERS:,} customers {each.asked.rss_mib:.0f} MiB, "
                f"target < {SIDECAR_MIB_MAX} ({_met(is_met=is_met)})"
            )
    return f"Targets: {'; '.join(said)}."


def _met(*, is_met: bool) -> str:
    return "met" if is_met else "missed"
