"""Thresholds of usage: told once in each window, after what made them true was settled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from metered import CATALOG, Metered, entry, record

from control_plane.metering.counters import CounterCache
from control_plane.metering.threshold_watch import ThresholdWatch
from control_plane.metering.thresholds import (
    KEPT_AFTER_END_MS,
    ThresholdFinder,
    prune_thresholds,
    store,
)
from control_plane.notifying.endpoints import Endpoint, create_endpoint
from control_plane.notifying.signing import new_secret
from control_plane.storage.database import Database
from control_plane.storage.webhook_tables import usage_threshold, webhook_message

DAY_MS = 86_400_000


class Noted(Metered):
    """Usage that is looked at as the control plane does."""

    def __init__(self, database: Database, catalog: str = CATALOG) -> None:
        super().__init__(database, catalog)
        self._number = 0
        self._finder = ThresholdFinder(CounterCache(self.library))
        new = Endpoint("hooks", "https://hooks.example.com/", ("usage.threshold_reached",))
        with database.writing() as connection:
            create_endpoint(connection, new, new_secret(), self.now_ms)

    def use(self, amount: int, customer: str = "acme", feature: str = "api.calls") -> None:
        self._number += 1
        used = entry(customer, amount, feature=feature, occurred_at_ms=self.now_ms)
        assert self.settle(record(self._number, used)).events == 1

    def look(self, finder: ThresholdFinder | None = None) -> None:
        finder = finder or self._finder
        with self.database.reading() as connection:
            look = finder.look(connection, self.now_ms)
        with self.database.writing() as connection:
            store(connection, look, self.now_ms)

    def told(self) -> list[tuple[str, str, int]]:
        """Return who was told of which limit and part, oldest first."""
        said = [self._data(row) for row in self.rows(webhook_message)]
        said.sort(key=lambda each: (each["at"], each["limit_units"]))
        return [(each["customer"], each["limit"], each["percent"]) for each in said]

    def _data(self, row: Any) -> dict[str, Any]:
        return {**json.loads(row.body)["data"], "at": row.created_at_ms}

    def last(self) -> dict[str, Any]:
        return max(map(self._data, self.rows(webhook_message)), key=lambda each: each["at"])


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def noted(database: Database) -> Noted:
    return Noted(database)


def percents(noted: Noted, customer: str = "beta") -> list[int]:
    return [percent for who, _, percent in noted.told() if who == customer]


def test_each_part_is_told_once(noted: Noted) -> None:
    for amount in (49, 1, 5, 24, 1, 20, 30):
        noted.now_ms += 1
        noted.use(amount, "beta")
        noted.look()
        noted.look()
    assert percents(noted) == [50, 80, 100]
    said = noted.last()
    assert (said["used"], said["limit_units"], said["kind"]) == (100, 100, "hard")
    assert said["window_start"] == "2025-11-01T00:00:00.000Z"
    assert said["window_end"] == "2025-12-01T00:00:00.000Z"


def test_of_several_parts_at_once_the_highest_is_told(noted: Noted) -> None:
    noted.use(90, "beta")
    noted.look()
    assert percents(noted) == [80]
    assert sorted(row.percent for row in noted.rows(usage_threshold)) == [50, 80]


def test_each_limit_has_its_own_window_and_the_next_begins_anew(noted: Noted) -> None:
    noted.use(150)
    noted.look()
    assert len(noted.told()) == 1
    noted.now_ms += DAY_MS
    noted.use(160)
    noted.look()
    assert [percent for *_, percent in noted.told()] == [50, 80]
    assert len(noted.rows(usage_threshold)) == 3


def test_a_limit_that_rises_is_told_of_again(noted: Noted) -> None:
    noted.use(60, "beta")
    noted.look()
    noted.now_ms += 1
    noted.apply(CATALOG.replace("limit: 100,", "limit: 110,"))
    noted.use(1, "beta")
    noted.look()
    assert percents(noted) == [50, 50]
    noted.now_ms += 1
    noted.apply(CATALOG.replace("limit: 100,", "limit: 90,"))
    noted.use(1, "beta")
    noted.look()
    assert percents(noted) == [50, 50]


def test_who_looks_second_tells_nothing_again(noted: Noted) -> None:
    noted.use(60, "beta")
    other = ThresholdFinder(CounterCache(noted.library))
    with noted.database.reading() as connection:
        look = other.look(connection, noted.now_ms)
    noted.look()
    with noted.database.writing() as connection:
        store(connection, look, noted.now_ms + 1)
    assert percents(noted) == [50]


def test_nobody_is_told_where_nobody_wants_it_nor_where_the_feature_says_never(
    noted: Noted,
) -> None:
    document = CATALOG.replace("unit: call}", "unit: call, notify_at: []}")
    noted.apply(document)
    noted.use(100, "beta")
    noted.look()
    assert noted.told() == []


def test_seats_that_are_taken_again_are_told_again(database: Database) -> None:
    document = CATALOG.replace("jobs: {type: metered}", "jobs: {type: metered, meter: allocation}")
    noted = Noted(database, document.replace("10, window: lifetime", "10"))
    for amount in (5, -2, 3, 4):
        noted.now_ms += 1
        noted.use(amount, feature="jobs")
        noted.look()
    assert percents(noted, "acme") == [50, 50, 100]


def test_a_rolling_window_tells_at_most_once_in_its_length(database: Database) -> None:
    document = CATALOG.replace("limit: 100, window: month", "limit: 100, window: {rolling: hour}")
    noted = Noted(database, document)
    for _ in range(3):
        noted.use(60, "beta")
        noted.look()
        noted.now_ms += 40 * 60_000
    assert percents(noted) == [50, 100, 50]


def test_thresholds_of_windows_long_past_go(noted: Noted) -> None:
    noted.use(60, "beta")
    noted.look()
    with noted.database.writing() as connection:
        assert prune_thresholds(connection, noted.now_ms) == 0
        assert prune_thresholds(connection, noted.now_ms + 8 * DAY_MS + KEPT_AFTER_END_MS) == 1
    assert noted.rows(usage_threshold) == []


async def test_the_watch_tells_what_was_settled(noted: Noted) -> None:
    watch = ThresholdWatch(noted.database, noted.library, lambda: noted.now_ms)
    reached: list[int] = []
    watch.on_reached = reached.append
    noted.use(60, "beta")
    assert await watch.step() is False
    assert await watch.step() is False
    assert (percents(noted), reached) == ([50], [1, 0])
