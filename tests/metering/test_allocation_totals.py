"""Allocations at settlement: signed amounts, sums below nothing, and that they show."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metered import CATALOG, NOW_MS, Metered, entry, record
from sqlalchemy import delete, select

from control_plane.metering.counters import Counter
from control_plane.metering.queries import UsageQuery, UsageRow
from control_plane.metering.records import UsageEntry, UsageKind
from control_plane.metering.totals import TotalKey, count_overdrawn, sum_events
from control_plane.storage.tables import usage_event, usage_total
from weighbridge.rules.units import AMOUNT_MAX, COUNTER_MAX

HELD = ("", "seats", "lifetime")
SEATS = Counter("acme", "", "seats")
WITH_SEATS = CATALOG.replace(
    "  sso: {type: boolean}\n",
    "  sso: {type: boolean}\n  seats: {type: metered, meter: allocation}\n",
).replace("      sso: true\n", "      sso: true\n      seats: {limits: [{limit: 5}]}\n")


@pytest.fixture
def seated(metered: Metered) -> Metered:
    metered.apply(WITH_SEATS)
    return metered


def seats(amount: int, **changes: object) -> UsageEntry:
    return entry(amount=amount, feature="seats", **changes)


def overdrawn(metered: Metered) -> int:
    with metered.database.reading() as connection:
        return count_overdrawn(connection)


def test_what_is_held_is_the_sum_of_all_ever(seated: Metered) -> None:
    year_ms = 366 * 86_400_000
    seated.settle(record(1, seats(4, occurred_at_ms=NOW_MS - year_ms), seats(-1), seats(2)))
    assert seated.totals("acme")[HELD] == 5
    seated.settle(record(2, seats(-5, kind=UsageKind.REPORT)))
    assert seated.totals("acme")[HELD] == 0
    assert seated.usage(UsageQuery(feature="seats")) == [UsageRow("acme", "", "seats", None, 0, 4)]


def test_a_release_may_be_settled_before_its_acquisition(seated: Metered) -> None:
    early = seated.settle(record(1, seats(-2), sidecar_id="sc-2"))
    assert early.overdrawn == [TotalKey("acme", "", "seats", "lifetime", 0)]
    assert (early.overdrawn_total, overdrawn(seated)) == (1, 1)
    assert seated.totals("acme")[HELD] == -2
    late = seated.settle(record(1, seats(3)))
    assert (late.overdrawn, late.overdrawn_total, overdrawn(seated)) == ([], 0, 0)
    assert seated.totals("acme")[HELD] == 1
    assert seated.settle(record(2, seats(1))).overdrawn_total is None


def test_only_allocations_are_released(seated: Metered) -> None:
    settled = seated.settle(
        record(1, entry(amount=-1), entry(amount=7), entry(amount=-1, feature="jobs"))
    )
    assert settled.events == 1
    assert seated.set_aside() == ["not_releasable"] * 2
    assert seated.sum_of_events(Counter("acme", "", "api.calls")) == 7


def test_a_total_holds_no_less_than_the_smallest_number(seated: Metered) -> None:
    calls = 9_000
    seated.settle(record(1, seats(-calls * AMOUNT_MAX, calls=calls)))
    seated.settle(record(2, seats(-calls * AMOUNT_MAX, calls=calls)))
    assert seated.set_aside() == ["overflow"]
    assert seated.totals("acme")[HELD] == -calls * AMOUNT_MAX


def test_events_that_sum_to_less_than_a_number_holds_are_told_as_such(seated: Metered) -> None:
    calls = 9_000
    seated.settle(record(1, seats(-calls * AMOUNT_MAX, calls=calls)))
    with seated.database.writing() as connection:
        row = connection.execute(select(usage_event)).mappings().one()
        copy = {name: value for name, value in row.items() if name != "id"}
        connection.execute(usage_event.insert().values(copy))
        connection.execute(delete(usage_total))
        key = TotalKey(*SEATS, "lifetime", 0)
        assert sum_events(connection, [(key, None)]) == {key: -COUNTER_MAX}


sizes = st.one_of(st.integers(-5, 5), st.integers(-AMOUNT_MAX, AMOUNT_MAX))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(sizes, min_size=1, max_size=8))
def test_totals_sums_and_queries_agree_with_the_events(seated: Metered, amounts: list[int]) -> None:
    with seated.database.writing() as connection:
        connection.execute(delete(usage_event))
        connection.execute(delete(usage_total))
    number = seated.mark() + 1
    seated.settle(record(number, *(seats(amount) for amount in amounts)))
    expected = sum(amounts)
    assert seated.totals("acme")[HELD] == expected == seated.sum_of_events(SEATS)
    rows = seated.usage(UsageQuery(feature="seats"))
    assert [row.amount for row in rows] == [expected]
    key = TotalKey(*SEATS, "lifetime", 0)
    with seated.database.reading() as connection:
        assert sum_events(connection, [(key, None)]) == {key: expected}
