"""Usage that was set aside is settled once what it lacked is there, and counts once."""

from __future__ import annotations

import asyncio
from random import Random
from uuid import uuid4

import pytest
from metered import NOW_MS, Metered, entry, record

from control_plane.metering.queue import IngestQueue
from control_plane.metering.records import KeyScope
from control_plane.metering.reporting import Reporter
from control_plane.metering.set_aside import Replayed, list_set_aside, replay_set_aside
from control_plane.storage.tables import usage_event
from weighbridge.rules.errors import InvalidArgumentError


def replay(metered: Metered, *ids: int, reason: str = "") -> Replayed:
    async def run() -> Replayed:
        queue = IngestQueue(metered.database, metered.library, lambda: metered.now_ms, Random(1))
        running = asyncio.create_task(queue.run())
        reporter = Reporter(queue, lambda: uuid4().hex)
        try:
            return await replay_set_aside(metered.database, reporter, ids, reason)
        finally:
            running.cancel()

    return asyncio.run(run())


def kept_ids(metered: Metered, reason: str = "") -> list[int]:
    with metered.database.reading() as connection:
        return [kept.id for kept in list_set_aside(connection, reason, 0, 0)]


def test_usage_of_a_customer_that_came_later_is_settled(metered: Metered) -> None:
    at_ms = NOW_MS - 3_600_000
    late = entry("late", 5, occurred_at_ms=at_ms, dimensions=(("model", "large"),))
    metered.settle(record(1, late, entry("acme", 1, feature="unknown")))
    assert metered.set_aside() == ["customer_unknown", "feature_unknown"]
    assert replay(metered) == Replayed(2, 2)
    metered.create("late", "pro")
    assert replay(metered, reason="customer_unknown") == Replayed(1, 0)
    (event,) = [row for row in metered.rows(usage_event) if row.customer_id == "late"]
    assert (event.amount, event.occurred_at_ms) == (5, at_ms)
    assert event.dimensions == {"model": "large"}
    assert metered.set_aside() == ["feature_unknown"]


def test_a_replay_that_is_begun_again_counts_nothing_twice(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = entry("late", 6, key="k1", key_scope=KeyScope.FLEET, payload_digest=b"payload")
    metered.settle(record(1, entry("late", 5), keyed))
    assert metered.set_aside() == ["customer_unknown", "customer_unknown"]
    metered.create("late", "pro")
    with monkeypatch.context() as dying:
        dying.setattr("control_plane.metering.set_aside._drop", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            replay(metered)
    assert replay(metered).usages == 2
    # Whoever sends the keyed one again gets the same answer, and it counts once as well.
    metered.settle(record(2, keyed))
    amounts = [row.amount for row in metered.rows(usage_event) if row.customer_id == "late"]
    assert sorted(amounts) == [5, 6]
    assert kept_ids(metered) == []


def test_what_no_replay_mends_is_refused(metered: Metered) -> None:
    metered.settle(record(1, entry(amount=1)))
    metered.settle(record(1, entry(amount=2), digest=b"another-digest-x"))
    (conflict,) = kept_ids(metered, "digest_conflict")
    with pytest.raises(InvalidArgumentError, match="no replay mends"):
        replay(metered, conflict)
    with pytest.raises(InvalidArgumentError, match="is not set aside"):
        replay(metered, conflict + 1)
    with pytest.raises(InvalidArgumentError, match="is none of"):
        replay(metered, reason="bad_weather")
    assert replay(metered) == Replayed(0, 0)
    assert kept_ids(metered) == [conflict]
