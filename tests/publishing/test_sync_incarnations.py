"""A database put back to an earlier state: sidecars that have seen more start over, no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import delete, insert, select
from sync_world import (
    CATALOG,
    SyncClient,
    SyncWorld,
    batch,
    entry,
    held,
    hello,
    mark_of,
    record,
    totals_by_feature,
)

from control_plane.publishing import incarnations
from control_plane.publishing.incarnations import Seen, begin_incarnation, is_undone
from control_plane.storage.tables import metadata
from weighbridge.v1 import sync_service_pb2 as pb

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def back_up(world: SyncWorld) -> Rows:
    with world.database.reading() as c:
        return {
            table.name: [dict(row) for row in c.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
        }


async def put_back(world: SyncWorld, rows: Rows) -> None:
    """Stop serving, have the database as it was, and serve again."""
    await world.stop_serving()
    with world.database.writing() as c:
        for table in reversed(metadata.sorted_tables):
            c.execute(delete(table))
        for table in metadata.sorted_tables:
            if rows[table.name]:
                c.execute(insert(table), list(rows[table.name]))
    await world.serve()


async def seen_by(world: SyncWorld, mode: str = "ALL", **fields: Any) -> pb.Hello:
    """Connect a sidecar, let it catch up, and return what it would say next time."""
    client = await world.welcomed(hello(mode, **fields))
    complete = await client.complete()
    return next_hello(client, complete, mode)


def next_hello(
    client: SyncClient, complete: pb.InitialSnapshotComplete, mode: str = "ALL"
) -> pb.Hello:
    customers = [m.customer for m in client.received if m.HasField("customer")]
    catalogs = [m.catalog for m in client.received if m.HasField("catalog")]
    return hello(
        mode,
        incarnation=client.received[0].welcome.incarnation,
        seen_revision=max(m.revision for m in client.received),
        seen_usage_revision=max(m.usage_revision for m in client.received),
        held_revision=complete.revision,
        held_usage_revision=complete.usage_revision,
        catalogs=[pb.HeldVersion(id=c.catalog, version=c.version) for c in catalogs],
        customers=[
            pb.HeldVersion(id=c.customer, version=c.version) for c in customers if mode != "ALL"
        ],
    )


async def test_a_restart_alone_sends_nothing_again(world: SyncWorld) -> None:
    world.create("acme")
    greeting = await seen_by(world)
    await put_back(world, back_up(world))

    client = await world.welcomed(greeting)
    await client.complete()
    assert not client.received[0].welcome.start_over
    assert client.kinds() == ["initial_snapshot_complete"]


async def test_everything_is_sent_anew_to_who_has_seen_what_was_undone(world: SyncWorld) -> None:
    world.create("acme")
    rows = back_up(world)
    world.subscribe("acme", "free")
    world.create("late")
    world.apply(CATALOG.replace("limit: 100,", "limit: 7,"))
    greeting = await seen_by(world)
    assert greeting.seen_revision == world.revision() == 5
    await put_back(world, rows)
    # It goes on past what the sidecar has seen.
    for plan in ("free", "pro", "free", "pro", "free"):
        world.subscribe("acme", plan)

    client = await world.welcomed(greeting)
    complete = await client.complete()
    assert client.received[0].welcome.start_over
    assert client.kinds() == ["catalog", "customer", "initial_snapshot_complete"]
    assert client.customers() == ["acme"]
    assert complete.revision == 7

    again = await world.welcomed(next_hello(client, complete))
    assert not again.received[0].welcome.start_over


async def test_a_list_is_told_who_does_not_exist_any_more(world: SyncWorld) -> None:
    world.create("acme")
    rows = back_up(world)
    world.create("late")
    greeting = await seen_by(world, "LISTED", customers=held(acme=0, late=0))
    await put_back(world, rows)

    client = await world.welcomed(greeting)
    await client.complete()
    assert client.received[0].welcome.start_over
    assert sorted(client.kinds()) == ["catalog", "customer", "initial_snapshot_complete", "unknown"]


async def test_usage_that_was_undone_is_settled_again_once(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    complete = await client.complete()
    await client.send(usage=batch(record(1, entry(amount=2))))
    await client.until("usage_ack")
    rows = back_up(world)
    await client.send(usage=batch(record(2, entry(amount=3))))
    await client.until("usage_ack")
    await client.until("totals")
    greeting = next_hello(client, complete)
    assert greeting.seen_usage_revision == 2
    await client.close()
    await put_back(world, rows)

    client = await world.welcomed(greeting)
    welcome = client.received[0].welcome
    assert (welcome.start_over, mark_of(welcome.settled)) == (True, 1)
    whole = await client.until("customer")
    assert totals_by_feature(whole.totals) == {"api.calls": 2}
    await client.send(usage=batch(record(2, entry(amount=3))))
    totals = await client.until("totals")
    assert (totals_by_feature(totals.totals), mark_of(totals.included)) == ({"api.calls": 5}, 2)


async def test_who_saw_only_what_is_still_so_goes_on(world: SyncWorld) -> None:
    world.create("acme")
    greeting = await seen_by(world)
    rows = back_up(world)
    world.create("late")
    await put_back(world, rows)

    client = await world.welcomed(greeting)
    await client.complete()
    assert not client.received[0].welcome.start_over
    assert client.customers() == []


async def test_an_incarnation_that_this_history_does_not_have(world: SyncWorld) -> None:
    world.create("acme")
    rows = back_up(world)
    await put_back(world, rows)
    greeting = await seen_by(world)
    await put_back(world, rows)

    # The same revisions, but who knows what they were of.
    client = await world.welcomed(greeting)
    await client.complete()
    assert client.received[0].welcome.start_over


def test_only_the_latest_incarnations_are_kept(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incarnations, "INCARNATIONS_MAX", 2)
    with world.database.writing() as c:
        first, second, third = (begin_incarnation(c, n) for n in range(3))
    with world.database.reading() as c:
        assert [is_undone(c, Seen(each)) for each in ("", first, second, third)] == [
            False,
            True,
            False,
            False,
        ]
