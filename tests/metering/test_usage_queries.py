"""Sums of usage by customer, resource, feature and time."""

from __future__ import annotations

import pytest
from metered import NOW_MS, Metered, entry, record

from control_plane.metering import queries
from control_plane.metering.queries import UsageGroup, UsageQuery, UsageRow
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import COUNTER_MAX

HOUR_MS = 3_600_000


@pytest.fixture
def used(metered: Metered) -> Metered:
    metered.settle(
        record(
            1,
            entry(amount=1, calls=1),
            entry(amount=20, calls=2, occurred_at_ms=NOW_MS - HOUR_MS),
            entry(amount=300, resource="ws-1", occurred_at_ms=NOW_MS - 24 * HOUR_MS),
            entry(amount=4000, feature="jobs"),
            entry("beta", amount=50000),
        )
    )
    return metered


def sums(used: Metered, *groups: UsageGroup, **changes: object) -> list[tuple[object, ...]]:
    rows = used.usage(UsageQuery(group_by=groups, **changes))  # type: ignore[arg-type]
    return [(r.customer, r.resource, r.feature, r.bucket_start_ms, r.amount) for r in rows]


def test_sums_are_by_customer_and_feature_unless_said(used: Metered) -> None:
    assert used.usage(UsageQuery()) == [
        UsageRow("acme", "", "api.calls", None, 321, 4),
        UsageRow("acme", "", "jobs", None, 4000, 1),
        UsageRow("beta", "", "api.calls", None, 50000, 1),
    ]


def test_sums_by_one_thing(used: Metered) -> None:
    assert sums(used, UsageGroup.CUSTOMER) == [
        ("acme", "", "", None, 4321),
        ("beta", "", "", None, 50000),
    ]
    assert sums(used, UsageGroup.RESOURCE) == [
        ("", "", "", None, 54021),
        ("", "ws-1", "", None, 300),
    ]
    assert sums(used, UsageGroup.FEATURE, customer="acme") == [
        ("", "", "api.calls", None, 321),
        ("", "", "jobs", None, 4000),
    ]


def test_sums_by_hour_and_day(used: Metered) -> None:
    assert sums(used, UsageGroup.HOUR, customer="acme", feature="api.calls") == [
        ("", "", "", NOW_MS - 24 * HOUR_MS, 300),
        ("", "", "", NOW_MS - HOUR_MS, 20),
        ("", "", "", NOW_MS, 1),
    ]
    midnight_ms = NOW_MS - NOW_MS % (24 * HOUR_MS)
    assert sums(used, UsageGroup.DAY, customer="acme", feature="api.calls") == [
        ("", "", "", midnight_ms - 24 * HOUR_MS, 300),
        ("", "", "", midnight_ms, 21),
    ]


def test_time_is_half_open(used: Metered) -> None:
    chosen = {"customer": "acme", "feature": "api.calls", "from_ms": NOW_MS - HOUR_MS}

    assert sums(used, UsageGroup.CUSTOMER, **chosen) == [("acme", "", "", None, 21)]
    assert sums(used, UsageGroup.CUSTOMER, **chosen, to_ms=NOW_MS) == [("acme", "", "", None, 20)]


def test_one_resource(used: Metered) -> None:
    assert sums(used, UsageGroup.CUSTOMER, resource="ws-1") == [("acme", "", "", None, 300)]


def test_no_usage_is_no_row(used: Metered) -> None:
    assert used.usage(UsageQuery(customer="nobody")) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (UsageQuery(customer="a b"), "customer"),
        (UsageQuery(resource="\n"), "resource"),
        (UsageQuery(feature="x" * 200), "feature"),
        (UsageQuery(from_ms=2, to_ms=1), "from_unix_ms"),
        (UsageQuery(group_by=(UsageGroup.HOUR, UsageGroup.DAY)), "group_by"),
    ],
)
def test_what_is_wrong_is_named(used: Metered, query: UsageQuery, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        used.usage(query)

    assert raised.value.field == field


def test_an_answer_has_a_bound(used: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "ROWS_MAX", 2)

    with pytest.raises(InvalidArgumentError, match="more than 2 rows"):
        used.usage(UsageQuery())


def test_a_sum_past_what_an_answer_holds_is_said(metered: Metered) -> None:
    huge = entry("beta", feature="jobs", amount=COUNTER_MAX, calls=10**9)
    metered.settle(record(1, huge, huge))

    with pytest.raises(InvalidArgumentError, match="past what an answer can hold"):
        metered.usage(UsageQuery())


def test_dimensions_are_told_apart_and_looked_for(metered: Metered) -> None:
    large, small = (("model", "large"), ("region", "eu")), (("model", "small"),)
    metered.settle(
        record(1, entry(amount=1, dimensions=large), entry(amount=20, dimensions=small)),
        record(2, entry(amount=300, dimensions=large, occurred_at_ms=NOW_MS - 1)),
        record(3, entry(amount=4000)),
    )
    rows = metered.usage(UsageQuery(group_by=(UsageGroup.FEATURE,), by_dimensions=("model",)))
    assert {(row.dimensions, row.amount) for row in rows} == {
        ((), 4000),
        ((("model", "large"),), 301),
        ((("model", "small"),), 20),
    }
    (row,) = metered.usage(UsageQuery(group_by=(UsageGroup.FEATURE,), having=large))
    assert row.amount == 301
    assert metered.usage(UsageQuery(having=(("model", "none"),))) == []


def test_those_below_are_summed_where_asked_for(metered: Metered) -> None:
    metered.create("acme/a", parent="acme")
    metered.create("acme/a/x", parent="acme/a")
    metered.settle(record(1, entry(amount=1), entry("acme/a", 20), entry("acme/a/x", 300)))
    every = UsageQuery(customer="acme/a", with_below=True, group_by=(UsageGroup.FEATURE,))
    assert [row.amount for row in metered.usage(every)] == [320]
    apart = UsageQuery(customer="acme", with_below=True, group_by=(UsageGroup.CUSTOMER,))
    assert [(row.customer, row.amount) for row in metered.usage(apart)] == [
        ("acme", 1),
        ("acme/a", 20),
        ("acme/a/x", 300),
    ]


def test_weeks_begin_on_monday_and_months_on_the_first(metered: Metered) -> None:
    # 2025-11-24 is a Monday; the Sunday before it, and the last of October.
    day_ms = 24 * HOUR_MS
    for number, days in enumerate((0, 1, 24), start=1):
        metered.settle(
            record(number, entry(amount=10**number, occurred_at_ms=NOW_MS - days * day_ms))
        )
    monday_ms = NOW_MS - NOW_MS % day_ms
    assert sums(metered, UsageGroup.WEEK) == [
        ("", "", "", monday_ms - 28 * day_ms, 1_000),
        ("", "", "", monday_ms - 7 * day_ms, 100),
        ("", "", "", monday_ms, 10),
    ]
    assert sums(metered, UsageGroup.MONTH) == [
        ("", "", "", monday_ms - 54 * day_ms, 1_000),
        ("", "", "", monday_ms - 23 * day_ms, 110),
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (UsageQuery(with_below=True), "with_below"),
        (UsageQuery(by_dimensions=('a"b',)), "group_by_dimensions"),
        (UsageQuery(by_dimensions=("a", "a")), "group_by_dimensions"),
        (UsageQuery(having=(("", "x"),)), "dimensions"),
        (UsageQuery(group_by=(UsageGroup.WEEK, UsageGroup.MONTH)), "group_by"),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    metered: Metered, query: UsageQuery, field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        metered.usage(query)
    assert caught.value.field == field
