"""Leases on the stream: asked for, drawn, given back, recalled, refused and lifted."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from sync_world import (
    LEASE_TTL_MS,
    SyncClient,
    SyncWorld,
    batch,
    entry,
    hello,
    record,
)

from control_plane.leasing.conservation import check_all
from weighbridge.v1 import sync_service_pb2 as pb

LIMIT = 10


def pool(customer: str = "acme", **fields: Any) -> pb.LeasePool:
    values = {"customer": customer, "feature": "jobs", "limit_id": "lifetime"}
    return pb.LeasePool(**{**values, **fields})


def wants(
    number: int, *pools: pb.LeasePool, least: int = 1, units: int | None = None
) -> pb.LeaseRequest:
    return pb.LeaseRequest(
        number=number,
        wants=[
            pb.LeaseWant(pool=p, units_min=least, units=units or least, limit=LIMIT)
            for p in pools or (pool(),)
        ],
    )


def gives(lease: pb.Lease, units: int, *, ended: bool = False) -> pb.LeaseRequest:
    held = pb.HeldLease(lease=lease.id, returned=units, granted=lease.granted, ended=ended)
    return pb.LeaseRequest(returned=[held])


def draw(lease: pb.Lease, units: int) -> list[pb.LeaseDraw]:
    return [pb.LeaseDraw(lease=lease.id, units=units)]


async def asks(client: SyncClient, request: pb.LeaseRequest) -> pb.LeaseAnswer:
    await client.send(lease_request=request)
    answer: pb.LeaseAnswer = await client.until("lease_answer", number=request.number)
    return answer


async def leases(client: SyncClient, least: int, number: int = 1) -> pb.Lease:
    answer = await asks(client, wants(number, least=least))
    assert not answer.refusals
    return answer.leases[0]


async def sidecar(world: SyncWorld, name: str, epoch: str = "e1", **fields: Any) -> SyncClient:
    return await world.welcomed(hello(sidecar=name, epoch=epoch, **fields))


@pytest.fixture(autouse=True)
def customers(world: SyncWorld) -> None:
    world.create("acme", "beta")


def units(world: SyncWorld) -> dict[str, int]:
    with world.database.reading() as connection:
        sums = check_all(connection)
    assert not sums.differences
    return {term: count for term, count in sums.units().items() if count}


async def test_a_lease_is_granted_drawn_and_returned(world: SyncWorld) -> None:
    client = await sidecar(world, "sc-1")
    assert client.received[0].welcome.lease_ttl_ms == LEASE_TTL_MS

    lease = await leases(client, 6)
    assert (lease.granted, lease.limit, lease.pool) == (6, LIMIT, pool())
    drawn = record(
        1, entry(feature="jobs", amount=4), draws=[pb.LeaseDraw(lease=lease.id, units=4)]
    )
    await client.send(usage=batch(drawn))
    await client.until("usage_ack")
    assert units(world) == {"granted": 10, "available": 4, "outstanding": 2, "settled": 4}

    await client.send(lease_request=gives(lease, 2))
    # Requests are done in order.
    assert (await asks(client, wants(2, least=6))).leases[0].granted == 12
    assert units(world) == {"granted": 10, "outstanding": 6, "settled": 4}


async def test_heartbeats_are_confirmed_by_their_number(world: SyncWorld) -> None:
    client = await sidecar(world, "sc-1")
    await client.send(heartbeat=pb.Heartbeat(number=1))
    await client.until("heartbeat", number=1)

    await leases(client, 1)
    world.now_ms += 30_000
    await client.send(heartbeat=pb.Heartbeat(number=2))
    beat = await client.until("heartbeat", number=2)
    assert beat.control_plane_now_unix_ms == world.now_ms


async def test_units_that_others_hold_are_recalled_before_a_refusal(world: SyncWorld) -> None:
    world.recall_ms = 10_000
    await world.stop_serving()
    await world.serve()
    holder, asker = await sidecar(world, "sc-1"), await sidecar(world, "sc-2")
    lease = await leases(holder, 10)

    await asker.send(lease_request=wants(1, least=3))
    assert (await holder.until("lease_recall")).leases == [lease.id]
    await holder.send(lease_request=gives(lease, 4))

    answer = await asker.until("lease_answer", number=1)
    assert [each.granted for each in answer.leases] == [3]


async def test_a_recall_that_brings_nothing_ends_in_a_refusal_that_is_lifted(
    world: SyncWorld,
) -> None:
    world.recall_ms = 10_000
    await world.stop_serving()
    await world.serve()
    holder, asker = await sidecar(world, "sc-1"), await sidecar(world, "sc-2")
    lease = await leases(holder, 10)
    await asker.send(lease_request=wants(1, least=3))
    await holder.until("lease_recall")

    await holder.send(lease_request=gives(lease, 1))

    refusal = (await asker.until("lease_answer", number=1)).refusals[0]
    assert (refusal.pool, refusal.available, refusal.unreachable) == (pool(), 1, 0)
    assert (refusal.lapses_in_ms, refusal.limit) == (30_000, LIMIT)
    await holder.send(lease_request=gives(lease, 5))
    assert (await asker.until("lease_lift")).pools == [pool()]
    assert (await asks(asker, wants(2, least=3))).leases[0].granted == 3


async def test_a_refusal_says_what_is_with_sidecars_that_do_not_answer(world: SyncWorld) -> None:
    holder, silent = await sidecar(world, "sc-1"), await sidecar(world, "sc-2")
    asker = await sidecar(world, "sc-3")
    await leases(holder, 6)
    await leases(silent, 3)
    await holder.close()

    # The one that is connected does not answer its recall in time.
    refusal = (await asks(asker, wants(1, least=4))).refusals[0]

    assert (refusal.available, refusal.unreachable) == (1, 9)
    assert len([m for m in silent.received if m.HasField("lease_recall")]) <= 1


async def test_all_pools_or_none_and_none_that_is_no_limit(world: SyncWorld) -> None:
    client = await sidecar(world, "sc-1")

    answer = await asks(client, wants(1, pool(), pool("beta"), pool("nobody"), least=2))

    assert not answer.leases
    assert [(r.pool.customer, r.lapses_in_ms) for r in answer.refusals] == [("nobody", 1_000)]
    answer = await asks(client, wants(2, pool(), pool("beta"), least=2))
    assert [lease.pool.customer for lease in answer.leases] == ["acme", "beta"]


async def test_an_epoch_that_ended_gives_back_when_its_records_are_settled(
    world: SyncWorld,
) -> None:
    first = await sidecar(world, "sc-1")
    lease = await leases(first, 8)
    drawn = record(
        1, entry(feature="jobs", amount=3), draws=[pb.LeaseDraw(lease=lease.id, units=3)]
    )
    written = [pb.RecordMark(sidecar_id="sc-1", epoch="e1", number=1)]

    second = await sidecar(world, "sc-1", "e2", predecessor_epoch="e1", written=written)
    assert units(world) == {"granted": 10, "available": 2, "outstanding": 8}
    await second.send(usage=batch(drawn))
    await second.until("usage_ack")

    assert units(world) == {"granted": 10, "available": 7, "settled": 3}


async def test_a_new_stream_of_the_epoch_keeps_what_it_lists(world: SyncWorld) -> None:
    first = await sidecar(world, "sc-1")
    lease = await leases(first, 4)
    await leases(first, 3, number=2)
    held = [pb.HeldLease(lease=lease.id, granted=lease.granted)]

    second = await sidecar(world, "sc-1", leases=held)

    # What was granted in an answer that did not arrive is available again.
    assert units(world) == {"granted": 10, "available": 6, "outstanding": 4}
    await sidecar(world, "sc-1")
    assert units(world) == {"granted": 10, "available": 10}
    assert (await second.ended()).code is grpc.StatusCode.FAILED_PRECONDITION


async def test_what_records_settle_without_a_lease_is_taken_from_the_pool(
    world: SyncWorld,
) -> None:
    client = await sidecar(world, "sc-1")
    await leases(client, 6)
    await client.send(usage=batch(record(1, entry(feature="jobs", amount=9))))
    await client.until("usage_ack")

    sums = {"granted": 10, "outstanding": 6, "settled": 9, "overage": 5}
    assert units(world) == sums


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (pb.LeaseRequest(number=0, wants=wants(1).wants), "lease_request.number"),
        (wants(1, pool(), pool()), "names a pool twice"),
        (wants(1, pool("")), "lease_request.wants.pool.customer"),
        (wants(1, least=-1), "lease_request.wants.units_min"),
        (
            pb.LeaseRequest(returned=[pb.HeldLease(lease=1, returned=-1)]),
            "lease_request.returned.returned",
        ),
    ],
)
async def test_requests_that_make_no_sense_end_the_stream(
    world: SyncWorld, request_: pb.LeaseRequest, problem: str
) -> None:
    client = await sidecar(world, "sc-1")
    await client.send(lease_request=request_)

    end = await client.ended()

    assert end.code is grpc.StatusCode.INVALID_ARGUMENT
    assert problem in end.details


async def test_many_sidecars_share_a_pool_to_the_last_unit(world: SyncWorld) -> None:
    clients = [await sidecar(world, f"sc-{n}") for n in range(6)]

    for client in clients:
        await client.send(lease_request=wants(1, least=2, units=100))
    answers = [await client.until("lease_answer", number=1) for client in clients]

    granted = [sum(lease.granted for lease in answer.leases) for answer in answers]
    assert sum(granted) <= LIMIT
    assert sum(bool(answer.leases) for answer in answers) >= 1
    assert units(world)["outstanding"] == sum(granted)
