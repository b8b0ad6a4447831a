"""Drafts reach every sidecar: at first, when they change, and that there is none any more."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from sync_world import CATALOG, SyncClient, SyncWorld, held, hello

from control_plane import provisioning
from control_plane.provisioning import CatalogSource, MigrationChoice
from control_plane.storage.tables import catalog_draft
from weighbridge.rules.catalog import Migration
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2


def with_limit(limit: int) -> str:
    return CATALOG.replace("limit: 100,", f"limit: {limit},")


def put(world: SyncWorld, text: str) -> int:
    source = CatalogSource(text, "draft.yaml")
    with world.database.writing() as c:
        draft = provisioning.put_draft(c, world.library, source, world.now_ms).draft
    world.notices.publish(catalogs=["api"])
    return draft.number


def remove(world: SyncWorld) -> None:
    with world.database.writing() as c:
        provisioning.remove_draft(c, "api")
    world.notices.publish(catalogs=["api"])


async def connected(world: SyncWorld, **fields: object) -> SyncClient:
    client = await world.welcomed(hello(**fields))  # type: ignore[arg-type]
    await client.complete()
    return client


def limits(draft: pb.DraftCatalog) -> dict[tuple[str, int], int]:
    """Return the limit of API calls by plan and version."""
    return {
        (plan.plan, plan.version): plan.entitlements[0].limits[0].limit
        for plan in draft.snapshot.plans
    }


async def test_without_drafts_nothing_is_said_of_them(world: SyncWorld) -> None:
    client = await connected(world)
    assert not {"draft", "draft_removed"} & set(client.kinds())


async def test_a_draft_is_sent_at_once_and_to_who_connects_later(world: SyncWorld) -> None:
    client = await connected(world)
    number = put(world, with_limit(50))
    draft = await client.until("draft")
    assert (draft.number, draft.snapshot.catalog, draft.snapshot.version) == (number, "api", 2)
    assert limits(draft)["free", 2] == 50
    later = await connected(world, sidecar="sc-2")
    assert "draft" in later.kinds()
    assert [m.catalog.version for m in later.received if m.HasField("catalog")] == [1]


async def test_a_newer_draft_replaces_it_and_removal_is_told(world: SyncWorld) -> None:
    client = await connected(world)
    first = put(world, with_limit(50))
    await client.until("draft", number=first)
    second = put(world, with_limit(60))
    assert second > first
    assert limits(await client.until("draft", number=second))["free", 2] == 60
    remove(world)
    assert (await client.until("draft_removed")).catalog == "api"


async def test_who_holds_a_draft_that_is_gone_is_told_on_connecting(world: SyncWorld) -> None:
    client = await connected(world, drafts=held(api=3, other=4))
    gone = [m.draft_removed.catalog for m in client.received if m.HasField("draft_removed")]
    assert sorted(gone) == ["api", "other"]


async def test_applying_the_same_content_removes_the_draft(world: SyncWorld) -> None:
    client = await connected(world)
    put(world, with_limit(50))
    await client.until("draft")
    world.apply("# Written otherwise, and says the same.\n" + with_limit(50))
    kinds = set()
    while kinds != {"catalog", "draft_removed"}:
        kinds.add((await client.read()).WhichOneof("message"))
        kinds.discard("heartbeat")


async def test_another_apply_has_the_draft_compiled_anew(world: SyncWorld) -> None:
    client = await connected(world)
    number = put(world, with_limit(50))
    await client.until("draft")
    world.apply(with_limit(200))
    draft = await client.until("draft")
    assert (draft.number, draft.snapshot.version) == (number, 3)
    assert limits(draft)["free", 3] == 50


async def test_who_keeps_a_plan_version_keeps_it_under_the_draft(world: SyncWorld) -> None:
    world.create("acme", plan="free")
    source = CatalogSource(with_limit(200), "catalog.yaml")
    with world.database.writing() as c:
        choice = MigrationChoice(Migration.NEW_CUSTOMERS)
        provisioning.apply_catalog(c, world.library, source, None, world.now_ms + 1, choice)
    put(world, with_limit(50))
    client = await connected(world)
    (draft,) = [m.draft for m in client.received if m.HasField("draft")]
    assert limits(draft) | {("pro", 1): 0} == {
        ("free", 1): 100,
        ("free", 2): 200,
        ("free", 3): 50,
        ("pro", 1): 0,
    }
    steps = [(step.version, step.migration) for step in draft.snapshot.steps]
    assert steps == [
        (1, types_pb2.MIGRATION_NOW),
        (2, types_pb2.MIGRATION_NEW_CUSTOMERS),
        (3, types_pb2.MIGRATION_NOW),
    ]


async def test_a_draft_that_cannot_be_read_ends_no_stream(
    world: SyncWorld, caplog: pytest.LogCaptureFixture
) -> None:
    put(world, with_limit(50))
    with world.database.writing() as c:
        c.execute(update(catalog_draft).values(document="catalog: api\nfrom_another_release: 1\n"))
    client = await connected(world)
    assert "draft_removed" in client.kinds()
    world.apply(with_limit(70))
    assert (await client.until("catalog", version=2)).version == 2
