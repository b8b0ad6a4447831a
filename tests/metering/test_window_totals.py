"""Totals per window: what the incremental sum says, the events say as well."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from metered import CATALOG, NOW_MS, Metered, entry, record

from control_plane import provisioning
from control_plane.metering.counters import Counter
from control_plane.metering.totals import counters_changed_since
from control_plane.provisioning import WantedEntitlement, WantedLimit, WantedOverride
from control_plane.storage.tables import usage_total
from weighbridge.rules.catalog import CustomerStatus, LimitKind
from weighbridge.rules.window import Period, Window, WindowKind

MONTH = "calendar:month:UTC"
DAY = "calendar:day:UTC"
HOUR = "calendar:hour:UTC"
DAY_MS = 86_400_000
CALLS = Counter("acme", "", "api.calls")


def start_of_day_ms(at_ms: int = NOW_MS) -> int:
    return at_ms - at_ms % DAY_MS


def set_hourly_limit(metered: Metered, starts_at_ms: int | None, expires_at_ms: int | None) -> None:
    window = Window(WindowKind.CALENDAR, Period.HOUR)
    wanted = WantedOverride(
        customer="acme",
        entitlement=WantedEntitlement(
            "api.calls", limits=(WantedLimit("hourly", 10, LimitKind.HARD, window),)
        ),
        starts_at_ms=starts_at_ms,
        expires_at_ms=expires_at_ms,
    )
    with metered.database.writing() as connection:
        provisioning.set_override(connection, metered.library, wanted, metered.now_ms)


def test_usage_lands_in_the_window_of_its_own_time(metered: Metered) -> None:
    yesterday_ms = NOW_MS - DAY_MS
    metered.settle(record(1, entry(amount=1), entry(amount=10, occurred_at_ms=yesterday_ms)))

    assert metered.stored_totals() == {
        ("acme", "", "api.calls", DAY, start_of_day_ms()): 1,
        ("acme", "", "api.calls", DAY, start_of_day_ms(yesterday_ms)): 10,
        ("acme", "", "api.calls", MONTH, _ms(2025, 11, 1)): 11,
    }


def test_a_window_that_a_plan_change_brings_starts_from_what_was_used(metered: Metered) -> None:
    metered.settle(record(1, entry("beta", amount=30), entry("beta", amount=5, feature="jobs")))
    metered.subscribe("beta", "pro")

    expected = {
        ("", "api.calls", MONTH): 30,
        ("", "api.calls", DAY): 30,
        ("", "jobs", "lifetime"): 5,
    }
    assert metered.totals("beta") == expected
    # Reading made nothing; the first usage makes the rows.
    assert len(metered.rows(usage_total)) == 1
    metered.settle(record(2, entry("beta", amount=1), entry("beta", amount=1, feature="jobs")))
    assert metered.totals("beta") == {key: total + 1 for key, total in expected.items()}
    assert len(metered.rows(usage_total)) == 3


def test_a_window_that_went_and_came_back_misses_nothing(metered: Metered) -> None:
    metered.settle(record(1, entry(amount=1)))
    metered.subscribe("acme", "free")
    metered.settle(record(2, entry(amount=2)))
    metered.subscribe("acme", "pro")
    assert metered.totals("acme")["", "api.calls", DAY] == 3

    metered.settle(record(3, entry(amount=4)))

    assert metered.totals("acme")["", "api.calls", DAY] == 7
    assert metered.stored_totals()["acme", "", "api.calls", DAY, start_of_day_ms()] == 7


def test_usage_of_an_archived_customer_is_kept_and_counts_when_revived(metered: Metered) -> None:
    metered.settle(record(1, entry(amount=1)))
    for number, status in ((2, CustomerStatus.ARCHIVED), (3, CustomerStatus.ACTIVE)):
        with metered.database.writing() as connection:
            provisioning.set_customer_status(connection, "acme", status, metered.now_ms)
        assert metered.settle(record(number, entry(amount=10))).events == 1

    assert metered.totals("acme")["", "api.calls", MONTH] == 21
    assert metered.sum_of_events(CALLS) == 21


def test_a_limit_that_an_override_brings_later_starts_from_what_was_used(metered: Metered) -> None:
    set_hourly_limit(metered, NOW_MS + 60_000, NOW_MS + 120_000)
    metered.settle(record(1, entry(amount=3)))
    metered.now_ms += 60_000

    assert metered.totals("acme")["", "api.calls", HOUR] == 3

    metered.settle(record(2, entry(amount=1, occurred_at_ms=metered.now_ms)))
    assert metered.totals("acme")["", "api.calls", HOUR] == 4
    metered.now_ms += 60_000
    assert ("", "api.calls", HOUR) not in metered.totals("acme")
    # Nobody counts by the hour any more: the row would miss what comes now.
    metered.settle(record(3, entry(amount=1, occurred_at_ms=metered.now_ms)))
    assert {key[3] for key in metered.stored_totals()} == {MONTH, DAY}
    set_hourly_limit(metered, None, None)
    assert metered.totals("acme")["", "api.calls", HOUR] == 5


def test_a_window_that_turned_starts_at_zero(metered: Metered) -> None:
    metered.settle(record(1, entry(amount=3)))
    metered.now_ms += DAY_MS

    assert metered.totals("acme")["", "api.calls", DAY] == 0
    assert metered.totals("acme")["", "api.calls", MONTH] == 3
    metered.settle(record(2, entry(amount=2, occurred_at_ms=metered.now_ms)))
    assert metered.totals("acme")["", "api.calls", DAY] == 2


def test_rows_of_windows_that_ended_long_ago_go(metered: Metered) -> None:
    metered.settle(record(1, entry(amount=3)))
    metered.now_ms += 120 * DAY_MS

    metered.settle(record(2, entry(amount=2, occurred_at_ms=metered.now_ms)))

    assert {key[4] for key in metered.stored_totals()} == {
        start_of_day_ms(metered.now_ms),
        _ms(2026, 3, 1),
    }


def test_late_usage_of_a_window_whose_row_went_is_summed_again(metered: Metered) -> None:
    late_ms = NOW_MS
    metered.settle(record(1, entry(amount=3)))
    metered.now_ms += 120 * DAY_MS
    metered.settle(record(2, entry(amount=2, occurred_at_ms=metered.now_ms)))

    metered.settle(record(3, entry(amount=1, occurred_at_ms=late_ms)))

    assert metered.stored_totals()["acme", "", "api.calls", MONTH, _ms(2025, 11, 1)] == 4


def test_anniversary_windows_follow_the_anchor(metered: Metered) -> None:
    metered.apply(
        CATALOG.replace(
            "limit: 200, window: day", "id: own, limit: 200, window: {anniversary: month}"
        )
    )
    metered.settle(
        record(
            1,
            entry(amount=1),
            entry(amount=10, occurred_at_ms=NOW_MS - 1),
            entry(amount=100, occurred_at_ms=NOW_MS - 40 * DAY_MS),
        )
    )

    assert metered.totals("acme")["", "api.calls", "anniversary:month:UTC"] == 1


def test_each_resource_counts_for_itself(metered: Metered) -> None:
    metered.subscribe("acme", "free", "ws-1")
    metered.settle(record(1, entry(amount=1), entry(amount=2, resource="ws-1")))

    totals = metered.totals("acme")

    assert totals["", "api.calls", MONTH] == 1
    assert totals["ws-1", "api.calls", MONTH] == 2
    assert ("ws-1", "api.calls", DAY) not in totals


@pytest.mark.parametrize("amount", [0, 5])
def test_every_counter_that_usage_touched_is_found_by_its_revision(
    metered: Metered, amount: int
) -> None:
    first = metered.settle(record(1, entry(), entry("beta"))).usage_revision
    second = metered.settle(record(2, entry("beta", amount=amount))).usage_revision
    assert first is not None
    assert second is not None

    beta = Counter("beta", "", "api.calls")
    with metered.database.reading() as connection:
        assert counters_changed_since(connection, 0) == {CALLS: first, beta: second}
        assert counters_changed_since(connection, first) == {beta: second}
        assert counters_changed_since(connection, second) == {}


def _ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)
