"""The customers of the catalog bench, what compiling them is measured on, and its table."""

from __future__ import annotations

from pathlib import Path

from bench.catalogs.changing import PlanChange
from bench.catalogs.compiling import Compiled, measure_compiling
from bench.catalogs.population import (
    FEATURES,
    LIMIT,
    OVERRIDDEN,
    PLAN,
    catalog_text,
    customer_id,
    seed,
)
from bench.catalogs.results import Measured, Memory, percentile, results_table, verdict
from control_plane.catalog import compile_catalog, load_document
from control_plane.provisioning import current_revision, load_customers
from control_plane.storage.database import Database

NOW_MS = 1_764_000_000_000


def measured(customers: int, factor: float = 1.0) -> Measured:
    changes = [PlanChange(5.0, 2.0, (10.0 * factor, 30.0 * factor))] * 3
    memory = Memory(60.0 * factor, 40.0)
    compiled = Compiled(customers, 6_000.0, 20_000.0)
    return Measured(customers, 1.0, changes, [10.0] * 99 + [70.0], memory, memory, memory, compiled)


def test_its_catalog_has_the_features_it_says() -> None:
    plan = compile_catalog(load_document(catalog_text(7), "bench"), 1).plan(PLAN)
    assert plan is not None
    assert len(plan.entitlements) == FEATURES


def test_its_customers_are_whole_and_no_two_are_the_same(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'data.db'}"
    seed(url, 50, NOW_MS)
    database = Database(url)
    with database.reading() as connection:
        found = load_customers(connection, map(customer_id, range(51)))
        assert max(customer.version for customer in found) == current_revision(connection)
    database.close()
    assert len(found) == len({customer.version for customer in found}) == 50
    assert {s.plan for customer in found for s in customer.subscriptions} == {PLAN}
    assert sum(bool(customer.subscriptions[0].add_ons) for customer in found) == 13
    limits = [c.overrides[0].entitlement.limits[0].limit for c in found if c.overrides]
    assert limits == [LIMIT + n for n in (0, 10, 20, 30, 40)]
    assert {c.overrides[0].entitlement.feature for c in found if c.overrides} == {OVERRIDDEN}

    compiled = measure_compiling(url, 50, NOW_MS)
    assert compiled.snapshots == 50
    assert min(compiled) > 0


def test_the_table_has_a_column_for_each_size_and_says_what_was_missed() -> None:
    results = [measured(1_000), measured(10_000, 2.5)]
    lines = results_table(results).splitlines()
    assert lines[0] == "|  | 1,000 | 10,000 | last / first |"
    assert "| **plan change: apply to enforced, ms, median** | 20.0 | 50.0 | 2.5 |" in lines
    assert "| **one customer's change to enforced, ms, p99** | 10.0 | 10.0 | 1.0 |" in lines
    said = verdict(results)
    assert (
        "2.5 times as long with 10,000 customers as with 1,000, target: no growth (missed)" in said
    )
    assert "p99 10.0 ms, target < 50 (met)" in said
    assert "6,000 snapshots per CPU second, target 5,000 (met)" in said
    assert "150 MiB, target < 64 (missed)" in said


def test_percentiles() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
