"""A customer comes with everybody above it."""

from __future__ import annotations

import pytest
from sync_world import SyncClient, SyncWorld, batch, entry, held, hello, record, totals_by_feature

from weighbridge.rules.catalog import CustomerStatus
from weighbridge.v1 import sync_service_pb2 as pb


@pytest.fixture
async def family(world: SyncWorld) -> SyncWorld:
    """Put ann and bob under team, and team under acme."""
    world.create("acme", plan="free")
    world.create("team", plan="", parent="acme")
    world.create("ann", "bob", plan="", parent="team")
    # Whoever connects before that is told of them twice.
    await world.published()
    return world


async def asked(world: SyncWorld, *customers: str) -> SyncClient:
    client = await world.welcomed(hello("ON_DEMAND"))
    await client.complete()
    if customers:
        await client.send(
            subscribe=pb.SubscribeCustomers(customers=held(**dict.fromkeys(customers, 0)))
        )
        await client.until("customer", customer=customers[-1])
    return client


async def test_those_above_come_first(family: SyncWorld) -> None:
    client = await asked(family, "ann")
    assert client.customers() == ["acme", "team", "ann"]
    parents = [m.customer.parent for m in client.received if m.HasField("customer")]
    assert parents == ["", "acme", "team"]

    await client.send(subscribe=pb.SubscribeCustomers(customers=held(bob=0)))
    await client.until("customer", customer="bob")
    # Those above are followed already.
    assert client.customers() == ["acme", "team", "ann", "bob"]


async def test_those_listed_bring_those_above_them(family: SyncWorld) -> None:
    client = await family.welcomed(hello("LISTED", customers=held(ann=0, team=0, acme=0)))
    await client.complete()
    assert sorted(client.customers()) == ["acme", "ann", "team"]
    other = await family.welcomed(hello("LISTED", "sc-2", customers=held(bob=0)))
    await other.complete()
    assert other.customers() == ["acme", "team", "bob"]


async def test_changes_above_are_followed(family: SyncWorld) -> None:
    client = await asked(family, "ann")
    family.subscribe("acme", "pro")
    changed = await client.until("customer", customer="acme")
    assert changed.version == family.version("acme")
    family.set_status("team", CustomerStatus.REVOKED)
    revoked = await client.until("revoked")
    assert (revoked.customer, revoked.parent) == ("team", "acme")


async def test_a_revoked_customer_above_comes_as_a_tombstone(family: SyncWorld) -> None:
    family.set_status("team", CustomerStatus.REVOKED)
    client = await asked(family, "ann")
    assert client.customers() == ["acme", "ann"]
    assert [m.revoked.customer for m in client.received if m.HasField("revoked")] == ["team"]


async def test_usage_of_others_below_is_told_of_those_above(family: SyncWorld) -> None:
    client = await asked(family, "ann")
    other = await family.welcomed(hello("ON_DEMAND", "sc-2", "x"))
    await other.complete()
    await other.send(usage=batch(record(1, entry("bob", 7), sidecar_id="sc-2", epoch="x")))
    totals = await client.until("totals")
    assert (totals.customer, totals_by_feature(totals.totals)) == ("acme", {"api.calls": 7})
    # Whoever comes later gets it whole.
    late = await family.welcomed(hello("ON_DEMAND", "sc-3"))
    await late.complete()
    await late.send(subscribe=pb.SubscribeCustomers(customers=held(ann=0)))
    snapshot = await late.until("customer", customer="acme")
    assert totals_by_feature(snapshot.totals) == {"api.calls": 7}


async def test_a_reconnect_brings_only_what_changed_above(family: SyncWorld) -> None:
    client = await asked(family, "ann")
    versions = {
        m.customer.customer: m.customer.version for m in client.received if m.HasField("customer")
    }
    await client.close()
    family.subscribe("acme", "pro")
    again = await family.welcomed(
        hello("ON_DEMAND", customers=held(**versions), held_usage_revision=1)
    )
    await again.complete()
    # Twice where the change is published only after it connected.
    assert set(again.customers()) == {"acme"}


async def test_those_above_are_dropped_when_the_sidecar_says_so(family: SyncWorld) -> None:
    client = await asked(family, "ann")
    await client.send(unsubscribe=pb.UnsubscribeCustomers(customers=["ann", "team", "acme"]))
    await client.send(subscribe=pb.SubscribeCustomers(customers=held(bob=0)))
    await client.until("customer", customer="bob")
    assert client.customers() == ["acme", "team", "ann", "acme", "team", "bob"]
