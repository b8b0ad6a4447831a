"""Usage up the stream: acknowledged once settled, and included in the totals that come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from sync_world import (
    DEADLINE_S,
    SyncClient,
    SyncWorld,
    batch,
    entry,
    hello,
    mark_of,
    record,
    totals_by_feature,
)

from control_plane.storage.tables import usage_event
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types

CODE = grpc.StatusCode
RECORDS = 120


def events(world: SyncWorld) -> list[tuple[str, int]]:
    with world.database.reading() as connection:
        return [(row.customer_id, row.amount) for row in connection.execute(usage_event.select())]


async def test_usage_is_acknowledged_and_comes_back_in_totals(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.complete()

    await client.send(usage=batch(record(1, entry(amount=3)), record(2, entry(amount=4))))

    assert (await client.until("usage_ack")).mark.number == 2
    totals = await client.until("totals")
    assert totals.customer == "acme"
    assert totals_by_feature(totals.totals) == {"api.calls": 7}
    assert mark_of(totals.included) == 2
    assert events(world) == [("acme", 3), ("acme", 4)]


async def test_totals_go_only_to_those_who_follow_the_customer(world: SyncWorld) -> None:
    world.create("acme", "beta")
    lists_beta = await world.welcomed(
        hello("LISTED", "sc-2", customers=[pb.HeldVersion(id="beta")])
    )
    await lists_beta.complete()
    client = await world.welcomed(hello())
    await client.complete()

    await client.send(usage=batch(record(1, entry("acme"), entry("beta", amount=2))))
    await client.until("totals", customer="beta")

    totals = await lists_beta.until("totals")
    assert (totals.customer, totals_by_feature(totals.totals)) == ("beta", {"api.calls": 2})
    # Of this sidecar nothing is in it.
    assert mark_of(totals.included, "sc-2") == 0


async def test_totals_name_only_features_with_limits(world: SyncWorld) -> None:
    world.create("free", plan="free")
    client = await world.welcomed(hello())
    await client.complete()

    await client.send(usage=batch(record(1, entry("free", feature="jobs"), entry("free"))))

    totals = await client.until("totals")
    assert totals_by_feature(totals.totals) == {"api.calls": 1}
    world.subscribe("free", "pro")
    snapshot = await client.until("customer")
    assert totals_by_feature(snapshot.totals) == {"api.calls": 1, "jobs": 1}


async def test_records_sent_again_are_acknowledged_and_settle_once(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    for _ in range(2):
        await client.send(usage=batch(record(1, entry()), record(2, entry())))
        assert (await client.until("usage_ack")).mark.number == 2

    assert len(events(world)) == 2


async def test_a_gap_ends_the_stream_and_the_next_welcome_tells_where_to_go_on(
    world: SyncWorld,
) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.send(usage=batch(record(1, entry()), record(3, entry())))

    end = await client.ended()
    assert end.code is CODE.FAILED_PRECONDITION
    assert "settled up to 1" in end.details

    again = await world.welcomed(hello())
    assert mark_of(again.received[0].welcome.settled) == 1
    await again.send(usage=batch(record(2, entry()), record(3, entry())))
    assert (await again.until("usage_ack")).mark.number == 3


async def test_what_is_set_aside_is_reported(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.send(
        usage=batch(
            record(1, entry()),
            record(1, entry(amount=9)),
            record(2, entry(amount=-(10**15) - 1)),
            record(3, entry(kind=77)),
            record(4, entry("nobody"), entry()),
        )
    )
    assert (await client.until("usage_ack")).mark.number == 4

    reports = [m.usage_set_aside for m in client.received if m.HasField("usage_set_aside")]
    assert [report.mark.number for report in reports] == [1, 2, 3]
    assert "another digest" in reports[0].detail
    assert reports[1].detail.startswith("entries[0].amount")
    assert reports[2].detail.startswith("entries[0].kind")
    assert len(events(world)) == 2


async def test_a_fleet_wide_key_gives_units_back_to_the_second_sidecar(world: SyncWorld) -> None:
    world.create("acme")
    keyed = entry(
        amount=5,
        idempotency_key="k-1",
        idempotency_scope=types.IDEMPOTENCY_SCOPE_FLEET,
        payload_digest=b"d",
    )
    first = await world.welcomed(hello())
    await first.send(usage=batch(record(1, keyed)))
    await first.until("usage_ack")
    second = await world.welcomed(hello(sidecar="sc-2"))
    await second.complete()

    await second.send(usage=batch(record(1, keyed, sidecar_id="sc-2")))
    await second.until("usage_ack")

    while True:
        totals = await second.until("totals")
        if mark_of(totals.included, "sc-2") == 1:
            break
    assert totals_by_feature(totals.totals) == {"api.calls": 5}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (record(1, entry(), sidecar_id=""), "usage.records[1].sidecar_id"),
        (record(1, entry(), epoch="a b"), "usage.records[1].epoch"),
        (record(0, entry()), "usage.records[1].number"),
        (record(2, entry(), digest=b""), "usage.records[1].digest"),
        (record(2, entry(), digest=b"x" * 65), "usage.records[1].digest"),
    ],
)
async def test_a_record_that_does_not_say_which_it_is_ends_the_stream(
    world: SyncWorld, sent: pb.UsageRecord, field: str
) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.send(usage=batch(record(1, entry()), sent))

    end = await client.ended()

    assert end.code is CODE.INVALID_ARGUMENT
    assert end.details.startswith(f"{field}:")
    assert events(world) == []


async def test_a_batch_has_a_bound(world: SyncWorld) -> None:
    client = await world.welcomed(hello())
    await client.send(usage=batch(*(record(n, entry()) for n in range(1, 2_002))))

    end = await client.ended()

    assert end.code is CODE.INVALID_ARGUMENT
    assert end.details.startswith("usage.records:")


async def _send_all(world: SyncWorld, sidecar: str, amount: int) -> SyncClient:
    client = await world.welcomed(hello(sidecar=sidecar))
    await client.complete()
    for number in range(1, RECORDS + 1):
        await client.send(usage=batch(record(number, entry(amount=amount), sidecar_id=sidecar)))
    while True:
        totals = await client.until("totals")
        if totals_by_feature(totals.totals)["api.calls"] == RECORDS * 1001:
            return client


async def test_totals_and_marks_agree_while_two_sidecars_report(world: SyncWorld) -> None:
    """Total and marks are of one instant: each sidecar's own part of a total is its mark's."""
    world.create("acme")

    async with asyncio.timeout(DEADLINE_S * 3):
        ones, thousands = await asyncio.gather(
            _send_all(world, "sc-1", 1), _send_all(world, "sc-2", 1000)
        )

    for client, sidecar in ((ones, "sc-1"), (thousands, "sc-2")):
        told = [m.totals for m in client.received if m.HasField("totals")]
        told += [m.customer for m in client.received if m.HasField("customer")]
        for message in told:
            total = totals_by_feature(message.totals).get("api.calls", 0)
            own = total % 1000 if sidecar == "sc-1" else total // 1000
            assert own == mark_of(message.included, sidecar)


async def test_a_restart_of_the_control_plane_loses_nothing(
    world: SyncWorld, tmp_path: Path
) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.send(usage=batch(record(1, entry())))
    await client.until("usage_ack")
    await client.close()
    await world.stop_serving()
    await world.serve()

    again = await world.welcomed(hello())
    await again.send(usage=batch(record(1, entry()), record(2, entry())))
    assert (await again.until("usage_ack")).mark.number == 2
    assert len(events(world)) == 2
