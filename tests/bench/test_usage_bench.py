"""The bench of stored usage: it runs, and says which targets were missed."""

from __future__ import annotations

from pathlib import Path

from bench.usage.__main__ import costs_table, verdict
from bench.usage.measuring import Costs, measure_usage, size_of_files


def test_a_small_run_has_every_figure(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db'}"
    costs = measure_usage(url, size_of_files(tmp_path), 0.01, [500, 1_000])
    assert costs.deltas > 0
    assert costs.keyed > 0
    assert list(costs.statement_s) == list(costs.day_s) == [500, 1_000]
    assert costs.bytes_per_event > 0
    text = costs_table({"SQLite": costs})
    assert "statement of a customer with 1,000 events" in text


def test_missed_targets_are_said() -> None:
    fast, slow = Costs(60_000, 20_000, {}, {}, 1), Costs(60_000, 9_999, {}, {}, 1)
    told = verdict({"SQLite": fast, "PostgreSQL": slow})
    assert "usage deltas at least 50,000 a second: met" in told
    assert "keyed events at least 10,000 a second: missed on PostgreSQL" in told
