"""What a sidecar is sent: at first, after a reconnect, and when something changes."""

from __future__ import annotations

from sync_world import (
    CATALOG,
    SyncWorld,
    batch,
    entry,
    held,
    hello,
    mark_of,
    record,
    totals_by_feature,
)

from weighbridge.rules.catalog import CustomerStatus
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types

SAME_TOTALS = {"api.calls": 7}


async def use(world: SyncWorld, *records: pb.UsageRecord) -> None:
    """Settle usage over a stream of its own."""
    client = await world.welcomed(hello("ON_DEMAND", "sc-other", "x"))
    renamed = [pb.UsageRecord.FromString(r.SerializeToString()) for r in records]
    for item in renamed:
        item.sidecar_id, item.epoch = "sc-other", "x"
    await client.send(usage=batch(*renamed))
    await client.until("usage_ack")


async def test_everything_comes_in_mode_all(world: SyncWorld) -> None:
    world.create("acme", "beta", "gone")
    world.set_status("gone", CustomerStatus.REVOKED)
    await use(world, record(1, entry(amount=7)))

    client = await world.welcomed(hello())
    complete = await client.complete()

    assert client.kinds()[0] == "catalog"
    assert client.kinds()[-1] == "initial_snapshot_complete"
    assert sorted(client.customers()) == ["acme", "beta"]
    snapshots = {m.customer.customer: m.customer for m in client.received if m.HasField("customer")}
    assert totals_by_feature(snapshots["acme"].totals) == SAME_TOTALS
    assert mark_of(snapshots["acme"].included) == 0
    assert snapshots["acme"].version == world.version("acme")
    revoked = [m.revoked.customer for m in client.received if m.HasField("revoked")]
    assert revoked == ["gone"]
    assert (complete.revision, complete.usage_revision) == (world.revision(), 1)


async def test_many_customers_come_in_pages(world: SyncWorld) -> None:
    names = [f"c{number}" for number in range(450)]
    world.create(*names)

    client = await world.welcomed(hello())
    await client.complete()

    assert client.customers() == names


async def test_only_those_listed_come_and_those_that_do_not_exist_are_said(
    world: SyncWorld,
) -> None:
    world.create("acme", "beta")

    client = await world.welcomed(hello("LISTED", customers=held(acme=0, late=0)))
    await client.complete()
    # Twice where it is published as a change only after the sidecar connected.
    assert set(client.customers()) == {"acme"}
    unknown = [m.unknown for m in client.received if m.HasField("unknown")]
    assert [(u.customer, u.version) for u in unknown] == [("late", world.revision())]

    world.create("other", "late")
    snapshot = await client.until("customer")
    assert snapshot.customer == "late"


async def test_on_demand_they_come_when_asked_for(world: SyncWorld) -> None:
    world.create("acme", "beta")
    client = await world.welcomed(hello("ON_DEMAND"))
    await client.complete()
    assert client.customers() == []

    await client.send(subscribe=pb.SubscribeCustomers(customers=held(beta=0, nobody=0)))
    assert (await client.until("customer")).customer == "beta"
    assert (await client.until("unknown")).customer == "nobody"

    world.subscribe("acme", "free")
    world.subscribe("beta", "free")
    assert (await client.until("customer")).customer == "beta"
    await client.send(unsubscribe=pb.UnsubscribeCustomers(customers=["beta"]))
    await client.send(subscribe=pb.SubscribeCustomers(customers=held(acme=0)))
    await client.until("customer", customer="acme")
    world.subscribe("beta", "pro")
    world.subscribe("acme", "pro")
    assert (await client.until("customer")).customer == "acme"


async def test_a_sidecar_of_all_may_ask_for_one_again(world: SyncWorld) -> None:
    world.create("acme", "beta")
    client = await world.welcomed(hello())
    await client.complete()

    await client.send(subscribe=pb.SubscribeCustomers(customers=held(acme=0)))

    assert (await client.until("customer")).customer == "acme"


async def test_a_change_comes_with_its_totals(world: SyncWorld) -> None:
    world.create("acme")
    await use(world, record(1, entry(amount=7)))
    client = await world.welcomed(hello())
    await client.complete()

    world.subscribe("acme", "free")
    snapshot = await client.until("customer")

    assert snapshot.version == world.version("acme")
    assert [s.plan for s in snapshot.subscriptions] == ["free"]
    assert totals_by_feature(snapshot.totals) == SAME_TOTALS


async def test_a_change_that_nobody_told_of_comes_all_the_same(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.complete()

    world.subscribe("acme", "free", is_noticed=False)

    assert (await client.until("customer")).version == world.version("acme")


async def test_who_resumes_is_sent_nothing_it_holds(world: SyncWorld) -> None:
    world.create("acme", "beta")
    first = await world.welcomed(hello())
    complete = await first.complete()
    await first.close()

    again = await world.welcomed(
        hello(
            held_revision=complete.revision,
            held_usage_revision=complete.usage_revision,
            catalogs=held(api=1),
        )
    )
    await again.complete()

    assert again.kinds() == ["initial_snapshot_complete"]


async def test_who_resumes_is_sent_what_changed_meanwhile(world: SyncWorld) -> None:
    world.create("acme", "beta", "gamma")
    await use(world, record(1, entry("beta", amount=1)), record(2, entry("gamma", amount=1)))
    first = await world.welcomed(hello())
    complete = await first.complete()
    await first.close()
    world.subscribe("acme", "free")
    world.create("new")
    await use(world, record(3, entry("beta", amount=4)))

    again = await world.welcomed(
        hello(
            held_revision=complete.revision,
            held_usage_revision=complete.usage_revision,
            catalogs=held(api=1),
        )
    )
    await again.complete()

    assert sorted(again.customers()) == ["acme", "new"]
    totals = [m.totals for m in again.received if m.HasField("totals")]
    assert [(t.customer, totals_by_feature(t.totals)) for t in totals] == [
        ("beta", {"api.calls": 5})
    ]
    assert "catalog" not in again.kinds()


async def test_who_resumes_a_list_is_sent_what_has_another_version(world: SyncWorld) -> None:
    world.create("acme", "beta", "gone")
    await use(world, record(1, entry("beta")))
    versions = {name: world.version(name) for name in ("acme", "beta", "gone")}
    world.subscribe("acme", "free")
    world.set_status("gone", CustomerStatus.REVOKED)
    # What is published while a sidecar resumes may reach it twice.
    await world.published()

    client = await world.welcomed(
        hello("LISTED", customers=held(**versions), held_usage_revision=1, catalogs=held(api=1))
    )
    await client.complete()

    assert client.customers() == ["acme"]
    assert [m.revoked.customer for m in client.received if m.HasField("revoked")] == ["gone"]


async def test_who_lost_its_totals_is_sent_everything_again(world: SyncWorld) -> None:
    world.create("acme", "beta")
    other = await world.welcomed(hello(sidecar="sc-2"))
    await use(world, record(1, entry(amount=7)))
    await other.until("totals")

    client = await world.welcomed(hello(held_revision=world.revision(), catalogs=held(api=1)))
    await client.complete()

    assert client.customers() == ["acme", "beta"]


async def test_an_old_catalog_is_replaced(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.complete()

    world.apply(CATALOG.replace("limit: 100,", "limit: 101,"))
    assert (await client.until("catalog")).version == 2

    await client.close()
    resumed = await world.welcomed(hello(catalogs=held(api=1), held_revision=world.revision()))
    await resumed.complete()
    assert resumed.kinds() == ["catalog", "initial_snapshot_complete"]


async def test_a_catalog_comes_before_the_customer_that_needs_it(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello("ON_DEMAND"))
    await client.complete()
    bigger = CATALOG + "  max:\n    extends: pro\n    features: {}\n"

    # Nobody is told of the catalog: the customer's snapshot alone brings it along.
    world.apply(bigger, is_noticed=False)
    world.subscribe("acme", "max", is_noticed=False)
    await client.send(subscribe=pb.SubscribeCustomers(customers=held(acme=0)))
    snapshot = await client.until("customer")

    assert snapshot.catalog_version_min == 2
    kinds = client.kinds()
    versions = [m.catalog.version for m in client.received if m.HasField("catalog")]
    assert versions[:2] == [1, 2]
    assert kinds.index("customer") > len(kinds) - 1 - kinds[::-1].index("catalog")


async def test_a_revoked_customer_is_a_tombstone_until_it_is_revived(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.complete()

    world.set_status("acme", CustomerStatus.REVOKED)
    assert (await client.until("revoked")).version == world.version("acme")

    world.set_status("acme", CustomerStatus.ACTIVE)
    snapshot = await client.until("customer")
    assert (snapshot.version, snapshot.status) == (
        world.version("acme"),
        types.CUSTOMER_STATUS_ACTIVE,
    )


async def test_an_archived_customer_comes_as_such(world: SyncWorld) -> None:
    world.create("acme")
    client = await world.welcomed(hello())
    await client.complete()

    world.set_status("acme", CustomerStatus.ARCHIVED)

    assert (await client.until("customer")).status == types.CUSTOMER_STATUS_ARCHIVED
