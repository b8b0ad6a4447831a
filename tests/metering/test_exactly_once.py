"""Whatever is sent twice, out of order or lost with a transaction: each record settles once."""

from __future__ import annotations

from collections import Counter as Tallied
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from metered import NOW_MS, Metered, entry, record

from control_plane.metering.counters import Counter
from control_plane.metering.ingest import settle_records
from control_plane.metering.records import EpochKey, UsageEntry, UsageRecord
from control_plane.storage.database import Database
from control_plane.storage.tables import usage_event
from tests.storage_engines import FreshUrl

DAY_MS = 86_400_000
EPOCHS = (EpochKey("sc-1", "e1"), EpochKey("sc-1", "e2"), EpochKey("sc-2", "e1"))
PLANS = ("free", "pro")

entries = st.builds(
    entry,
    st.sampled_from(["acme", "beta"]),
    st.integers(0, 50),
    feature=st.sampled_from(["api.calls", "jobs"]),
    resource=st.sampled_from(["", "ws-1"]),
    occurred_at_ms=st.sampled_from([NOW_MS, NOW_MS - 1, NOW_MS - DAY_MS, NOW_MS - 30 * DAY_MS]),
).filter(lambda made: made.customer == "acme" or not made.resource)
contents = st.lists(st.lists(entries, max_size=4), min_size=1, max_size=6)
steps = st.one_of(
    # Sends some of an epoch's records, in any order; or loses them with the transaction.
    st.tuples(
        st.sampled_from(["send", "lose"]),
        st.lists(st.tuples(st.sampled_from(EPOCHS), st.integers(0, 5)), min_size=1, max_size=6),
    ),
    st.tuples(st.just("subscribe"), st.sampled_from(["acme", "beta"]), st.sampled_from(PLANS)),
)


everything_written = st.fixed_dictionaries(dict.fromkeys(EPOCHS, contents))
everything_happening = st.lists(steps, max_size=12)
Written = dict[EpochKey, list[list[UsageEntry]]]
Happening = Sequence[tuple[object, ...]]


@settings(max_examples=60)
@given(everything_written, everything_happening)
def test_each_record_settles_exactly_once(written: Written, happening: Happening) -> None:
    _check("sqlite://", written, happening)


@settings(max_examples=15)
@given(everything_written, everything_happening)
def test_each_record_settles_exactly_once_on_postgresql(
    fresh_postgresql_url: FreshUrl, written: Written, happening: Happening
) -> None:
    with fresh_postgresql_url() as url:
        _check(url, written, happening)


def _check(url: str, written: Written, happening: Happening) -> None:
    database = Database(url)
    database.migrate()
    metered = Metered(database)
    records = {
        key: [
            record(number, *content, sidecar_id=key.sidecar_id, epoch=key.epoch)
            for number, content in enumerate(written[key], 1)
        ]
        for key in EPOCHS
    }
    for step in happening:
        _do(metered, records, step)
    for key in EPOCHS:
        metered.settle(*records[key])

    assert {key: metered.mark(*key) for key in EPOCHS} == {key: len(records[key]) for key in EPOCHS}
    sent = [
        (*r.mark, e.customer, e.resource, e.feature, e.amount, e.occurred_at_ms)
        for key in EPOCHS
        for r in records[key]
        for e in r.entries
    ]
    stored = [(*row[1:7], row.amount, row.occurred_at_ms) for row in metered.rows(usage_event)]
    assert Tallied(stored) == Tallied(sent)
    _check_totals(metered)
    database.close()


def _do(
    metered: Metered, records: dict[EpochKey, list[UsageRecord]], step: tuple[object, ...]
) -> None:
    match step:
        case ("subscribe", str(customer), str(plan)):
            metered.subscribe(customer, plan)
        case (kind, list(picked)):
            chosen = [records[key][index % len(records[key])] for key, index in picked]
            if kind == "send":
                metered.settle(*chosen)
                return
            with metered.database.writing() as connection:
                settle_records(connection, chosen, metered.cache, NOW_MS)
                connection.rollback()
            metered.cache.clear()


def _check_totals(metered: Metered) -> None:
    """Compare every total a sidecar would be sent with the events, by a calendar of its own."""
    for customer in ("acme", "beta"):
        for (resource, feature, window), total in metered.totals(customer).items():
            start_ms, end_ms = _bounds(window)
            counter = Counter(customer, resource, feature)
            assert total == metered.sum_of_events(counter, start_ms, end_ms), (counter, window)


def _bounds(window: str) -> tuple[int, int]:
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match window:
        case "calendar:day:UTC":
            start, end = midnight, midnight + timedelta(days=1)
        case "calendar:month:UTC":
            start, end = midnight.replace(day=1), midnight.replace(month=12, day=1)
        case _:
            return 0, 2**62
    return int(start.timestamp() * 1000), int(end.timestamp() * 1000)
