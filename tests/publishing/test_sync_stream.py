"""The stream itself: hello, identity, heartbeats, and how it ends."""

from __future__ import annotations

import grpc
import pytest
from sync_world import SyncWorld, batch, entry, held, hello, mark_of, record

from control_plane.wire.publishing import session_to_proto
from weighbridge.v1 import sync_service_pb2 as pb

CODE = grpc.StatusCode


async def test_the_welcome_tells_time_and_what_is_settled(world: SyncWorld) -> None:
    world.create("acme")
    first = await world.welcomed(hello())
    await first.send(usage=batch(record(1, entry()), record(2, entry())))
    await first.until("usage_ack")
    await first.close()
    named = [pb.RecordMark(sidecar_id="sc-1", epoch="e1", number=1)]

    second = await world.welcomed(hello(epoch="e2", predecessor_epoch="e1", acknowledged=named))

    welcome = second.received[0].welcome
    assert welcome.control_plane_now_unix_ms == world.now_ms
    assert welcome.heartbeat_interval_ms == world.heartbeat_interval_ms
    assert mark_of(welcome.settled, epoch="e1") == 2
    assert mark_of(welcome.settled, epoch="e2") == 0


@pytest.mark.parametrize(
    ("greeting", "field"),
    [
        (hello(sidecar=""), "hello.sidecar_id"),
        (hello(sidecar="a b"), "hello.sidecar_id"),
        (hello(epoch="x" * 129), "hello.epoch"),
        (hello(predecessor_epoch="\n"), "hello.predecessor_epoch"),
        (hello(predecessor_epoch="e1"), "hello.predecessor_epoch"),
        (hello(boot_id="\x00"), "hello.boot_id"),
        (hello(software_version="v" * 1000), "hello.software_version"),
        (hello("UNSPECIFIED"), "hello.mode"),
        (pb.Hello(sidecar_id="sc-1", epoch="e1", mode=99), "hello.mode"),  # type: ignore[arg-type]
        (hello("LISTED", customers=[pb.HeldVersion(id="")]), "hello.customers.id"),
        (hello("LISTED", customers=held(acme=-1)), "hello.customers.version"),
        (hello(catalogs=[pb.HeldVersion(id="\t")]), "hello.catalogs.id"),
        (hello(held_revision=-1), "hello.held_revision"),
        (hello(held_usage_revision=-1), "hello.held_usage_revision"),
        (hello(incarnation="a b"), "hello.incarnation"),
        (hello(seen_revision=-1), "hello.seen_revision"),
        (hello(seen_usage_revision=-1), "hello.seen_usage_revision"),
        (hello(acknowledged=[pb.RecordMark(epoch="e")]), "hello.acknowledged.sidecar_id"),
        (hello(acknowledged=[pb.RecordMark(sidecar_id="s")]), "hello.acknowledged.epoch"),
    ],
)
async def test_an_unsound_hello_is_refused_by_field(
    world: SyncWorld, greeting: pb.Hello, field: str
) -> None:
    client = await world.connect(greeting)
    end = await client.ended()

    assert end.code is CODE.INVALID_ARGUMENT
    assert end.details.startswith(f"{field}:")
    assert client.received == []


async def test_hello_comes_first_and_once(world: SyncWorld) -> None:
    client = await world.welcomed(hello())
    await client.send(hello=hello())
    assert (await client.ended()).code is CODE.INVALID_ARGUMENT

    hasty = await world.connect(hello(epoch="e2"))
    await hasty.close()
    rude = await world.connect(hello(epoch="e3", predecessor_epoch="e2"))
    await rude.close()


async def test_another_first_message_is_refused(world: SyncWorld) -> None:
    client = await world.connect(hello(sidecar=""))
    await client.ended()
    other = await world.connect(pb.Hello())
    assert (await other.ended()).code is CODE.INVALID_ARGUMENT


async def test_a_copied_data_directory_is_refused_and_its_records_are_not_lost(
    world: SyncWorld,
) -> None:
    world.create("acme")
    await world.welcomed(hello(epoch="e1"))
    await world.welcomed(hello(epoch="e2", predecessor_epoch="e1"))

    copy = await world.connect(hello(epoch="copy", predecessor_epoch="e1"))
    refused = (await copy.read()).identity_refused
    assert "take a new sidecar id" in refused.detail
    assert (await copy.ended()).code is CODE.OK

    renamed = await world.welcomed(
        hello(
            sidecar="sc-2",
            epoch="f1",
            acknowledged=[pb.RecordMark(sidecar_id="sc-1", epoch="copy")],
        )
    )
    await renamed.send(usage=batch(record(1, entry(amount=3), epoch="copy")))
    ack = await renamed.until("usage_ack")
    assert (ack.mark.sidecar_id, ack.mark.epoch, ack.mark.number) == ("sc-1", "copy", 1)


async def test_a_newer_stream_takes_over(world: SyncWorld) -> None:
    older = await world.welcomed(hello())
    newer = await world.welcomed(hello())

    end = await older.ended()
    assert end.code is CODE.FAILED_PRECONDITION
    assert "took over" in end.details
    await newer.complete()
    assert len(world.registry) == 1


async def test_a_nack_is_kept_for_administrators(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello(software_version="1.2.3"))
    await client.complete()

    await client.send(ack=pb.Ack(catalog="api", version=1))
    await client.send(nack=pb.Nack(customer="acme", version=2, detail="a limit of no kind"))
    # Answered only after what was sent before it was taken in.
    await client.send(subscribe=pb.SubscribeCustomers(customers=held(nobody=0)))
    await client.until("unknown")

    listed = session_to_proto(world.registry.all()[0])
    assert (listed.sidecar_id, listed.software_version) == ("sc-1", "1.2.3")
    assert listed.mode == pb.SUBSCRIPTION_MODE_ALL
    assert [(n.customer, n.version, n.detail) for n in listed.nacks] == [
        ("acme", 2, "a limit of no kind")
    ]


async def test_streams_end_when_the_control_plane_stops(world: SyncWorld) -> None:
    client = await world.welcomed(hello())
    await client.complete()

    world.sync.stop()

    end = await client.ended()
    assert end.code is CODE.UNAVAILABLE
    assert "stops" in end.details


async def test_a_sidecar_that_leaves_is_no_longer_listed(world: SyncWorld) -> None:
    client = await world.welcomed(hello())
    await client.complete()
    await client.close()

    other = await world.welcomed(hello("ON_DEMAND", "sc-2"))
    while [s.greeting.sidecar_id for s in world.registry.all()] != ["sc-2"]:
        await other.send(subscribe=pb.SubscribeCustomers(customers=held(nobody=0)))
        await other.until("unknown")
