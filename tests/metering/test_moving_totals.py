"""Rolling windows and sessions in the database: what the rows say, the events say as well."""

from __future__ import annotations

import pytest
from metered import CATALOG, NOW_MS, Metered, all_counters, entry, record

from control_plane import provisioning
from control_plane.metering.counters import Counter, CounterCache
from control_plane.metering.records import UsageEntry
from control_plane.metering.totals import counters_changed_since, read_current
from control_plane.storage.tables import usage_total
from weighbridge.rules.catalog import CustomerStatus
from weighbridge.rules.units import COUNTER_MAX

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
ROLLING = "rolling:3600000"
SESSION = "session:18000000"
MOVING = CATALOG.replace(
    "{limit: 200, window: day}",
    "{limit: 200, window: {rolling: hour}}, {limit: 100, window: {session: {hours: 5}}}",
).replace("{limit: 10, window: lifetime}", "{limit: 10, window: {session: {hours: 5}}}")


@pytest.fixture
def moving(metered: Metered) -> Metered:
    metered.apply(MOVING)
    return metered


def parts(metered: Metered, key: str, feature: str = "api.calls") -> dict[int, int]:
    """Return what sidecars get of a window of acme's: by start, after or before now."""
    with metered.database.reading() as connection:
        cache = CounterCache(metered.library)
        cache.refresh(connection, ["acme"])
        found = cache.find("acme")
        assert found is not None
        read = read_current(connection, [(found, all_counters(found))], metered.now_ms)
    return {
        total.window_start_ms - NOW_MS if total.window_start_ms else 0: total.total
        for total in read["acme"]
        if (total.window.key, total.feature) == (key, feature)
    }


def rows(metered: Metered, key: str) -> dict[int, int]:
    """Return the rows there are of a window, by start, after or before now."""
    return {
        row.window_start_ms - NOW_MS if row.window_start_ms else 0: row.total
        for row in metered.rows(usage_total)
        if row.window_key == key
    }


def used(minutes: int, amount: int = 1, **changes: object) -> UsageEntry:
    return entry(amount=amount, occurred_at_ms=NOW_MS + minutes * MINUTE_MS, **changes)


def test_usage_lies_in_the_bucket_of_its_own_time(moving: Metered) -> None:
    moving.settle(record(1, used(0, 1), used(-10, 2), used(-10, 4), used(-61, 8), used(5, 16)))

    expected = {0: 1, -10 * MINUTE_MS: 6, 5 * MINUTE_MS: 16}
    # What counts no more has no row; what is ahead counts.
    assert parts(moving, ROLLING) == rows(moving, ROLLING) == expected


def test_buckets_that_have_left_go(moving: Metered) -> None:
    moving.settle(record(1, used(0, 3)))
    moving.now_ms += 61 * MINUTE_MS
    assert parts(moving, ROLLING) == {0: 0}
    moving.settle(record(2, used(61, 4)))

    assert rows(moving, ROLLING) == {61 * MINUTE_MS: 4}
    moving.now_ms += 2 * HOUR_MS
    moving.settle(record(3, used(0, 1)))
    # A row of 0 says that the window is counted: what is stored before is known to have left.
    assert rows(moving, ROLLING) == {0: 0}


def test_a_session_opens_at_the_first_use_and_lasts_its_length(moving: Metered) -> None:
    moving.settle(record(1, used(0, 0)))
    assert parts(moving, SESSION) == {0: 0}
    moving.now_ms += 6 * HOUR_MS
    moving.settle(record(2, used(1, 3)))
    moving.settle(record(3, used(300, 4), used(301, 5)))

    assert parts(moving, SESSION) == {MINUTE_MS: 7, 301 * MINUTE_MS: 5}
    assert rows(moving, SESSION) == {MINUTE_MS: 7, 301 * MINUTE_MS: 5}
    moving.now_ms += 20 * HOUR_MS
    assert parts(moving, SESSION) == {0: 0}


def test_an_earlier_first_use_opens_the_session_for_all(moving: Metered) -> None:
    moving.now_ms += 11 * MINUTE_MS
    moving.settle(record(1, used(10, 1)))
    moving.settle(record(1, used(5, 2), sidecar_id="sc-2"))

    assert rows(moving, SESSION) == {5 * MINUTE_MS: 3}
    # A whole length late: it moves nothing.
    moving.settle(record(2, used(-290, 4), sidecar_id="sc-2"))
    assert parts(moving, SESSION)[5 * MINUTE_MS] == 3


@pytest.mark.parametrize("is_turned", [False, True])
def test_within_a_transaction_the_order_of_records_decides_nothing(
    moving: Metered, is_turned: bool
) -> None:
    moving.now_ms += 20 * HOUR_MS
    entries = [used(0, 1), used(240, 2), used(360, 4), used(601, 8), used(1200, 16)]
    if is_turned:
        entries.reverse()
    moving.settle(record(1, *entries))

    assert rows(moving, SESSION) == {
        0: 3,
        360 * MINUTE_MS: 12,
        1200 * MINUTE_MS: 16,
    }


def test_only_the_newest_sessions_are_kept(moving: Metered) -> None:
    moving.now_ms += 200 * HOUR_MS
    moving.settle(record(1, *(used(n * 300) for n in range(40))))

    assert sorted(rows(moving, SESSION)) == [n * 300 * MINUTE_MS for n in range(24, 40)]


def test_windows_that_a_plan_brings_start_from_what_was_used(metered: Metered) -> None:
    metered.settle(
        record(
            1, used(0, 3), used(-20, 4), used(-20, 0), used(-61, 8), used(-200, 16), used(-301, 32)
        )
    )
    metered.apply(MOVING)

    assert parts(metered, ROLLING) == {0: 3, -20 * MINUTE_MS: 4}
    assert parts(metered, SESSION) == {-200 * MINUTE_MS: 31}
    assert parts(metered, SESSION, "jobs") == {0: 0}
    assert rows(metered, ROLLING) == rows(metered, SESSION) == {}
    metered.settle(record(2, used(0, 1)))
    assert rows(metered, ROLLING) == {0: 4, -20 * MINUTE_MS: 4}
    assert rows(metered, SESSION) == {-200 * MINUTE_MS: 32}


def test_windows_that_went_and_came_back_miss_nothing(moving: Metered) -> None:
    moving.settle(record(1, used(0, 1)))
    moving.subscribe("acme", "free")
    moving.settle(record(2, used(0, 2)))
    assert rows(moving, ROLLING) == rows(moving, SESSION) == {}
    moving.subscribe("acme", "pro")

    assert parts(moving, ROLLING) == parts(moving, SESSION) == {0: 3}


def test_usage_of_an_archived_customer_counts_when_it_is_revived(moving: Metered) -> None:
    moving.settle(record(1, used(0, 1)))
    for number, status in ((2, CustomerStatus.ARCHIVED), (3, CustomerStatus.ACTIVE)):
        with moving.database.writing() as connection:
            provisioning.set_customer_status(connection, "acme", status, moving.now_ms)
        moving.settle(record(number, used(0, 10)))

    assert parts(moving, ROLLING) == parts(moving, SESSION) == {0: 21}


@pytest.mark.parametrize("minutes", [0, -120, -3000])
def test_usage_that_counts_nowhere_is_told_too(moving: Metered, minutes: int) -> None:
    jobs = Counter("acme", "", "jobs")
    first = moving.settle(record(1, used(0, 0, feature="jobs"))).usage_revision
    second = moving.settle(record(2, used(minutes, 0, feature="jobs"))).usage_revision
    third = moving.settle(record(3, used(minutes, 5, feature="jobs"))).usage_revision
    assert first is not None
    assert second is not None
    assert third is not None

    with moving.database.reading() as connection:
        assert counters_changed_since(connection, 0) == {jobs: third}
        assert counters_changed_since(connection, second) == {jobs: third}


def test_a_window_that_is_full_sets_usage_aside(moving: Metered) -> None:
    with moving.database.writing() as connection:
        for key in (ROLLING, SESSION):
            connection.execute(
                usage_total.insert().values(
                    customer_id="acme",
                    resource_id="",
                    feature_id="api.calls",
                    window_key=key,
                    window_start_ms=NOW_MS - NOW_MS % MINUTE_MS,
                    total=COUNTER_MAX - 1,
                )
            )
    moving.settle(record(1, used(0, 1), used(0, 1)))

    assert moving.set_aside() == ["overflow"]
    assert rows(moving, ROLLING) == rows(moving, SESSION) == {0: COUNTER_MAX}
