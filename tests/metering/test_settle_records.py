"""Settling records: each once, in order, with what cannot be applied set aside."""

from __future__ import annotations

import json

import pytest
from metered import CATALOG, NOW_MS, Metered, entry, record

from control_plane.metering.counters import Counter
from control_plane.metering.ingest import settle_records
from control_plane.metering.records import EpochKey, KeyScope, SetAsideReason
from control_plane.storage.tables import usage_event, usage_set_aside
from weighbridge.rules.units import AMOUNT_MAX, COUNTER_MAX

MONTH = "calendar:month:UTC"
DAY = "calendar:day:UTC"
KEY = EpochKey("sc-1", "e1")


def test_a_record_is_settled_into_events_and_totals(metered: Metered) -> None:
    settled = metered.settle(record(1, entry(amount=3), entry(feature="jobs", amount=2)))

    assert settled.marks == {KEY: 1}
    assert (settled.records, settled.events, settled.usage_revision) == (1, 2, 1)
    assert metered.totals("acme") == {
        ("", "api.calls", MONTH): 3,
        ("", "api.calls", DAY): 3,
        ("", "jobs", "lifetime"): 2,
    }


def test_a_record_sent_again_changes_nothing(metered: Metered) -> None:
    sent = record(1, entry(amount=3))
    metered.settle(sent)

    again = metered.settle(sent, sent)

    assert (again.records, again.records_repeated, again.reports) == (0, 2, [])
    assert metered.totals("acme")["", "api.calls", MONTH] == 3


def test_a_gap_stops_there(metered: Metered) -> None:
    settled = metered.settle(record(1, entry()), record(3, entry()), record(2, entry()))

    assert settled.marks == {KEY: 2}
    assert metered.settle(record(3, entry())).marks == {KEY: 3}
    assert metered.totals("acme")["", "api.calls", DAY] == 3


@pytest.mark.parametrize("in_one_transaction", [False, True])
def test_a_known_number_with_another_digest_is_set_aside(
    metered: Metered, in_one_transaction: bool
) -> None:
    first, other = record(1, entry(amount=1)), record(1, entry(amount=2))
    if in_one_transaction:
        settled = metered.settle(first, other)
    else:
        metered.settle(first)
        settled = metered.settle(other)

    assert settled.marks == {KEY: 1}
    assert [(r.mark.number, r.reason) for r in settled.reports] == [
        (1, SetAsideReason.DIGEST_CONFLICT)
    ]
    assert metered.totals("acme")["", "api.calls", DAY] == 1
    payload = json.loads(metered.rows(usage_set_aside)[0].payload)
    assert payload["entries"][0]["amount"] == 2


def test_what_belongs_nowhere_is_set_aside_and_the_mark_moves(metered: Metered) -> None:
    settled = metered.settle(
        record(
            1,
            entry("nobody"),
            entry(feature="nothing"),
            entry(feature="sso"),
            entry(resource="ws-9"),
            entry(occurred_at_ms=NOW_MS + 25 * 3_600_000),
            entry(resource="ws-1"),
        )
    )

    assert settled.marks == {KEY: 1}
    assert settled.events == 1
    assert metered.set_aside() == [
        "customer_unknown",
        "feature_unknown",
        "feature_not_metered",
        "resource_unknown",
        "in_the_future",
    ]
    assert settled.set_aside.total() == 5


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": AMOUNT_MAX + 1}, "entries[1].amount"),
        ({"amount": -AMOUNT_MAX - 1}, "entries[1].amount"),
        ({"customer": ""}, "entries[1].customer"),
        ({"customer": "a b"}, "entries[1].customer"),
        ({"feature": "x" * 129}, "entries[1].feature"),
        ({"resource": "\n"}, "entries[1].resource"),
        ({"calls": 0}, "entries[1].calls"),
        ({"occurred_at_ms": -1}, "entries[1].occurred_at_unix_ms"),
        ({"occurred_at_ms": 2**62}, "entries[1].occurred_at_unix_ms"),
        ({"kind": None}, "entries[1].kind"),
        ({"key": "k" * 257}, "entries[1].idempotency_key"),
        ({"key": "k"}, "entries[1].payload_digest"),
        ({"key_scope": None}, "entries[1].idempotency_scope"),
        ({"dimensions": (("model", "x" * 257),)}, "entries[1].dimensions[model]"),
        ({"dimensions": tuple((f"d{i}", "") for i in range(17))}, "entries[1].dimensions"),
        ({"catalog_version": -1}, "entries[1].catalog_version"),
        ({"snapshot_version": -1}, "entries[1].snapshot_version"),
    ],
)
def test_an_unsound_record_is_set_aside_whole(
    metered: Metered, changes: dict[str, object], field: str
) -> None:
    settled = metered.settle(record(1, entry(), entry(**changes)), record(2, entry(amount=5)))

    assert settled.marks == {KEY: 2}
    assert metered.set_aside() == ["invalid_record"]
    assert settled.reports[0].detail.startswith(f"{field}:")
    assert metered.totals("acme")["", "api.calls", DAY] == 5


def test_a_fleet_wide_key_settles_once(metered: Metered) -> None:
    keyed = entry(amount=4, key="k-1", key_scope=KeyScope.FLEET, payload_digest=b"d1")
    other = keyed._replace(amount=9, payload_digest=b"d2")
    metered.settle(record(1, keyed))
    revision_before = metered.settle(record(2, entry(amount=0))).usage_revision

    elsewhere = metered.settle(record(1, keyed, keyed, other, sidecar_id="sc-2"))

    assert (elsewhere.events, elsewhere.keys_repeated) == (0, 2)
    assert [report.reason for report in elsewhere.reports] == [SetAsideReason.KEY_CONFLICT]
    assert metered.totals("acme")["", "api.calls", DAY] == 4
    # The other sidecar counted it as its own: it has to be told the total without it.
    assert elsewhere.usage_revision is not None
    assert revision_before is not None
    assert elsewhere.usage_revision > revision_before


def test_a_key_of_scope_sidecar_is_not_looked_at_here(metered: Metered) -> None:
    keyed = entry(key="k-1", payload_digest=b"d1")

    metered.settle(record(1, keyed), record(1, keyed, sidecar_id="sc-2"))

    assert metered.totals("acme")["", "api.calls", DAY] == 2
    assert {row.idempotency_key for row in metered.rows(usage_event)} == {"k-1"}


def test_a_fleet_wide_key_is_free_again_after_a_day(metered: Metered) -> None:
    keyed = entry(key="k-1", key_scope=KeyScope.FLEET, payload_digest=b"d1")
    metered.settle(record(1, keyed))
    metered.now_ms += 24 * 3_600_000

    assert metered.settle(record(2, keyed)).events == 1
    assert metered.settle(record(3, keyed)).events == 0


def test_a_total_never_overflows(metered: Metered) -> None:
    huge = entry(amount=10**9 * AMOUNT_MAX // 10**6, calls=10**9, feature="jobs")
    count = COUNTER_MAX // huge.amount
    settled = metered.settle(record(1, *[huge] * (count + 1)), record(2, entry(feature="jobs")))

    assert settled.set_aside[SetAsideReason.OVERFLOW] == 1
    assert metered.totals("acme")["", "jobs", "lifetime"] == count * huge.amount + 1


def test_usage_past_what_a_total_holds_saturates_a_window_that_comes_later(
    metered: Metered,
) -> None:
    # Free has no limit on jobs, so nothing counts there yet.
    metered.create("delta", "pro")
    metered.subscribe("delta", "free")
    huge = entry("delta", amount=COUNTER_MAX // 2, calls=10**9, feature="jobs")
    metered.settle(record(1, huge, huge, huge))
    metered.subscribe("delta", "pro")

    assert metered.totals("delta")["", "jobs", "lifetime"] == COUNTER_MAX
    settled = metered.settle(record(2, entry("delta", feature="jobs")))
    assert settled.set_aside == {SetAsideReason.OVERFLOW: 1}
    assert metered.totals("delta")["", "jobs", "lifetime"] == COUNTER_MAX


def test_a_transaction_rolled_back_leaves_nothing(metered: Metered) -> None:
    metered.settle(record(1, entry()))
    with metered.database.writing() as connection:
        settle_records(connection, [record(2, entry(amount=50))], metered.cache, NOW_MS)
        connection.rollback()
    metered.cache.clear()

    assert metered.mark() == 1
    assert metered.settle(record(2, entry(amount=7))).marks == {KEY: 2}
    assert metered.totals("acme")["", "api.calls", DAY] == 8


def test_usage_of_a_feature_that_a_later_catalog_lacks_is_still_usage(metered: Metered) -> None:
    without_grant = CATALOG.replace("      jobs: {limits: [{limit: 10, window: lifetime}]}\n", "")
    metered.apply(without_grant)
    metered.apply(without_grant.replace("  jobs: {type: metered}\n", ""))

    settled = metered.settle(
        record(1, entry(feature="jobs", catalog_version=1), entry(feature="jobs"))
    )

    assert settled.events == 1
    assert settled.set_aside == {SetAsideReason.FEATURE_UNKNOWN: 1}
    assert metered.sum_of_events(Counter("acme", "", "jobs")) == 1


def test_dimensions_are_kept(metered: Metered) -> None:
    metered.settle(record(1, entry(dimensions=(("model", "m-1"), ("region", "eu"))), entry()))

    assert [row.dimensions for row in metered.rows(usage_event)] == [
        {"model": "m-1", "region": "eu"},
        None,
    ]
