"""Usage to Stripe, by its own package, against a server with faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from exported import HOUR_MS, Exported, run
from sqlalchemy import Connection

from control_plane.exporters.config import ExporterConfig
from control_plane.exporters.items import ItemState
from control_plane.exporters.queue import decide_item
from tests.fake_stripe import FakeStripe
from tests.recording_server import Answer, RecordingServer, recording_server
from weighbridge.rules.errors import FailedPreconditionError, NotFoundError

T = TypeVar("T")

METERS = [
    {"feature": "calls", "event_name": "api_calls"},
    {"feature": "tokens", "match": {"model": "large"}, "event_name": "large_tokens"},
]


@pytest.fixture
def stripe() -> FakeStripe:
    return FakeStripe()


@pytest.fixture
def server(stripe: FakeStripe) -> Iterator[RecordingServer]:
    with recording_server(stripe) as running:
        yield running


@pytest.fixture
def config(exported: Exported, server: RecordingServer) -> ExporterConfig:
    exported.call("stripe", acme="cus_A", beta="cus_B")
    return exported.config(
        kind="stripe",
        api_key="sk_test_0123456789",
        meters=METERS,
        base_url=server.url,
        timeout_s=0.5,
        requests_per_second_max=1_000,
    )


def test_events_become_one_meter_event_per_customer_meter_and_hour(
    exported: Exported, config: ExporterConfig, stripe: FakeStripe, server: RecordingServer
) -> None:
    for minute in range(30):
        exported.use("acme", "calls", 2, exported.now_ms + minute * 60_000)
    exported.use("acme", "calls", 5, exported.now_ms + HOUR_MS)
    exported.use("beta", "calls", 7)
    exported.use("acme", "tokens", 100, model="large")
    exported.use("acme", "tokens", 1_000, model="small")
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    ran = run(exporter.run())
    assert (ran.events, ran.items, ran.sent, ran.failed) == (34, 3, 3, 0)
    names = sorted((form["event_name"], form["payload[value]"]) for form in stripe.events.values())
    assert names == [("api_calls", "60"), ("api_calls", "7"), ("large_tokens", "100")]
    first = server.requests[0]
    assert first.headers["authorization"] == "Bearer sk_test_0123456789"
    assert first.headers["idempotency-key"] == first.form["identifier"]
    assert int(first.form["timestamp"]) * 1_000 == exported.now_ms - HOUR_MS
    exported.now_ms += HOUR_MS
    assert run(exporter.run()).sent == 1
    assert stripe.units("cus_A") == 165
    # Nothing is left, and nothing is sent twice.
    assert run(exporter.run()) == (0, 0, 0, 0)
    assert len(server.requests) == 4


def test_late_usage_is_an_adjustment_of_its_own(
    exported: Exported, config: ExporterConfig, stripe: FakeStripe
) -> None:
    start_ms = exported.now_ms
    exported.use("acme", "calls", 3)
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    run(exporter.run())
    exported.use("acme", "calls", 4, start_ms + 1)
    run(exporter.run())
    items = exported.items()
    assert [(item.quantity, item.identifier[-2:]) for item in items] == [(3, "-1"), (4, "-2")]
    assert len({item.identifier for item in items}) == 2
    assert stripe.units("cus_A") == 7


@pytest.mark.parametrize(
    "fault",
    [
        Answer(429, {"error": {"message": "slow down"}}, {"retry-after": "2"}),
        Answer(500, {"error": {"message": "oops"}}),
        Answer(503),
        Answer(hangs=True),
    ],
    ids=["429", "500", "503", "timeout after the write"],
)
def test_faults_lose_and_double_nothing(
    exported: Exported, config: ExporterConfig, stripe: FakeStripe, fault: Answer
) -> None:
    for customer, amount in (("acme", 3), ("beta", 4)):
        exported.use(customer, "calls", amount)
    stripe.faults = [fault, fault]
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    first = run(exporter.run())
    assert first.failed >= 1
    for _ in range(5):
        exported.now_ms += 60_000
        run(exporter.run())
    assert (stripe.units("cus_A"), stripe.units("cus_B")) == (3, 4)
    assert exported.counts() == {"sent": 2}


def test_a_crash_between_sending_and_noting_sends_the_same_again(
    exported: Exported,
    config: ExporterConfig,
    stripe: FakeStripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exported.use("acme", "calls", 3)
    exported.now_ms += HOUR_MS
    exporter = exported.exporter(config)
    write = exported.database.write

    async def dying(work: Callable[[Connection], T]) -> T:
        if stripe.events:
            raise RuntimeError("killed")
        return await write(work)

    monkeypatch.setattr(exported.database, "write", dying)
    with pytest.raises(RuntimeError, match="killed"):
        run(exporter.run())
    monkeypatch.undo()
    assert stripe.units("cus_A") == 3
    # Another process goes on when the claim of the one that died has run out.
    other = exported.exporter(config, "two")
    assert run(other.run()).sent == 0
    exported.now_ms += 120_000
    assert run(other.run()).sent == 1
    assert stripe.units("cus_A") == 3


def test_what_cannot_be_sent_is_put_aside_and_decided(
    exported: Exported, config: ExporterConfig, stripe: FakeStripe
) -> None:
    exported.use("acme", "calls", 3)
    stripe.faults = [Answer(400, {"error": {"message": "no such meter"}})]
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    run(exporter.run())
    (item,) = exported.items(ItemState.REFUSED)
    assert "no such meter" in item.error

    def decide(identifier: str, *, is_sent: bool) -> None:
        exported.write(
            lambda c: decide_item(c, "main", identifier, is_sent=is_sent, now_ms=exported.now_ms)
        )

    decide(item.identifier, is_sent=False)
    run(exporter.run())
    assert stripe.units("cus_A") == 3
    with pytest.raises(FailedPreconditionError, match="is sent"):
        decide(item.identifier, is_sent=True)
    with pytest.raises(NotFoundError):
        decide("wb-none", is_sent=True)


def test_after_a_day_of_doubt_nothing_is_sent_again(
    exported: Exported, config: ExporterConfig, stripe: FakeStripe, server: RecordingServer
) -> None:
    exported.use("acme", "calls", 3)
    stripe.faults = [Answer(500)]
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    run(exporter.run())
    exported.now_ms += 24 * HOUR_MS
    run(exporter.run())
    assert len(server.requests) == 1
    assert exported.counts() == {"unclear": 1}


def test_usage_older_than_stripe_takes_is_put_aside(
    exported: Exported, config: ExporterConfig
) -> None:
    exported.use("acme", "calls", 3)
    exported.now_ms += 36 * 24 * HOUR_MS
    run(exported.exporter(config).run())
    (item,) = exported.items(ItemState.REFUSED)
    assert "35 days" in item.error


def test_a_customer_without_a_name_there_waits_for_one(
    exported: Exported, config: ExporterConfig, stripe: FakeStripe
) -> None:
    exported.create("gamma", "pro")
    exported.use("gamma", "calls", 3)
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    run(exporter.run())
    (item,) = exported.items(ItemState.PENDING)
    assert "has no id of stripe" in item.error
    exported.call("stripe", gamma="cus_C")
    exported.now_ms += 600_000
    run(exporter.run())
    assert stripe.units("cus_C") == 3


def test_a_dry_run_changes_nothing(
    exported: Exported, config: ExporterConfig, server: RecordingServer
) -> None:
    exported.use("acme", "calls", 3)
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    preview = run(exporter.preview())
    assert [(item.customer, item.quantity) for item in preview] == [("acme", 3)]
    assert (exported.items(), server.requests) == ([], [])
    run(exporter.run())
    assert [item.identifier for item in exported.items()] == [preview[0].identifier]


def test_an_exporter_begins_with_what_comes_unless_told_otherwise(
    exported: Exported, config: ExporterConfig, stripe: FakeStripe
) -> None:
    exported.use("acme", "calls", 3)
    exporter = exported.exporter(config.model_copy(update={"from_start": False}))
    run(exporter.open())
    exported.use("acme", "calls", 4)
    exported.now_ms += HOUR_MS
    run(exporter.run())
    assert stripe.units("cus_A") == 4
