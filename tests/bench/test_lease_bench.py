"""The arithmetic of the lease bench, and its parts on a small scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.failure import BenchError
from bench.leases.calling import Calls, Side
from bench.leases.deciding import CATALOG, Decisions, measure_deciding
from bench.leases.draining import Drained, Messages
from bench.leases.granting import ENTRIES_PER_RECORD, Effort, Rates, measure_granting
from bench.leases.results import (
    Measured,
    as_json,
    calls_table,
    consume_ratio,
    granting_table,
    sentences,
    verdict,
)
from bench.leases.steady import Steady
from bench.machine import with_section
from bench.metrics import sample_of
from bench.processes import free_ports
from control_plane.catalog import compile_catalog, load_document
from weighbridge.rules.lease import Consistency

STEADY = Steady(customers=1_000, calls=50_000, seconds=25.0, waited=20, requests=900)
DRAINED = Drained(4.25, 0.5, Messages(120, 100, 7, 15), calls_refused=3, calls_gave_up=1)


def calls(check: float, counted: float, leased: float) -> Calls:
    return Calls(*(Side(rate, 1e6 / rate) for rate in (check, counted, leased)))


def measured(leased: float = 950.0, steady: Steady = STEADY) -> Measured:
    rounds = [calls(1_000.0, 990.0, leased), calls(2_000.0, 1_990.0, 2 * leased)]
    rates = Rates(100.0, 40_000.0, 90.0, 18_000.0, 50_000.0, 25_000.0)
    doubled = Rates(*(2 * value for value in rates))
    return Measured(
        rounds,
        [Decisions(50_000.0, 40_000.0, 30_000.0)],
        steady,
        DRAINED,
        {"SQLite": [rates, doubled, doubled], "PostgreSQL": [rates]},
    )


def test_ratios_are_of_each_round_and_not_of_the_medians() -> None:
    rounds = [calls(1_000, 1_000, 900), calls(4_000, 4_000, 2_000), calls(2_000, 2_000, 1_900)]
    assert consume_ratio(rounds) == 0.9
    table = calls_table(rounds, [Decisions(50_000.0, 40_000.0, 30_000.0)])
    assert "| **calls/s through a sidecar** | 2,000 | 2,000 | 1,900 | 1.00 | 0.90 |" in table
    assert "| calls/s without transport | 50,000 | 40,000 | 30,000 | 0.80 | 0.60 |" in table


def test_grants_have_a_column_for_each_engine() -> None:
    lines = granting_table(measured().granting).splitlines()
    assert lines[0] == "|  | SQLite | PostgreSQL |"
    assert "| **one hot pool, grouped, grants/s** | 80,000 | 40,000 |" in lines
    assert "| hot: grouped / alone | 400.00 | 400.00 |" in lines
    assert "| usage: with draws / without | 0.50 | 0.50 |" in lines


def test_what_was_measured_once_is_said() -> None:
    said = sentences(STEADY, DRAINED)
    assert "20 waited for the control plane, 0.040%" in said
    assert "4.2 s, the last hundred of them 0.50 s; 120 requests for units, 100 granted" in said


def test_the_verdict_says_what_was_missed() -> None:
    assert verdict(measured()).count("(met)") == 2
    missed = verdict(measured(850.0, STEADY._replace(waited=500)))
    assert "0.85 of Check's calls per second, target 0.9 (missed)" in missed
    assert "1.000% of calls waited for the control plane, target < 0.1% (missed)" in missed


def test_every_sample_is_in_the_file() -> None:
    found = as_json(measured())
    assert found["steady"] == STEADY._asdict()
    assert found["calling"][0]["check"] == {"calls_per_s": 1_000.0, "cpu_us": 1_000.0}  # type: ignore[index]
    assert len(found["granting"]["SQLite"]) == 3  # type: ignore[index,call-overload]


def test_its_catalog_has_what_is_leased_and_what_is_not() -> None:
    catalog = compile_catalog(load_document(CATALOG.read_text(), CATALOG.name), 1)
    consistency = {id_: feature.consistency for id_, feature in catalog.features.items()}
    assert consistency == {
        "jobs": Consistency.LEASED,
        "counted": Consistency.CACHED,
        "drained": Consistency.LEASED,
    }


def test_decisions_are_made_by_leases(tmp_path: Path) -> None:
    (found,) = measure_deciding(tmp_path, rounds=1, calls=64)
    assert min(found) > 0


def test_grants_add_up_on_each_engine(database_url: str) -> None:
    rates = measure_granting(database_url, Effort(seconds=0.05, pools=ENTRIES_PER_RECORD))
    assert min(rates) > 0


def test_a_record_has_one_draw_of_each_lease(tmp_path: Path) -> None:
    effort = Effort(seconds=0.05, pools=ENTRIES_PER_RECORD - 1)
    with pytest.raises(BenchError, match="at least 100 pools"):
        measure_granting(f"sqlite:///{tmp_path / 'db'}", effort)


def test_metrics_of_nobody_are_an_error() -> None:
    with pytest.raises(BenchError, match="cannot be read"):
        sample_of(free_ports(1)[0], "calls_total")


def test_the_readme_has_a_place_for_the_tables() -> None:
    readme = Path(__file__).parents[2] / "bench" / "README.md"
    assert "\n\nNEW\n\n" in with_section(readme.read_text(encoding="utf-8"), "leases", "NEW")
