"""Heartbeats: the control plane's time, and up to where everything was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from sync_world import SyncWorld, batch, entry, hello, record


@pytest.fixture
async def quick_world(database_url: str) -> AsyncIterator[SyncWorld]:
    made = SyncWorld(database_url)
    made.heartbeat_interval_ms = 100
    await made.start()
    yield made
    await made.stop()


async def test_heartbeats_tell_time_and_what_was_sent(quick_world: SyncWorld) -> None:
    world = quick_world
    world.create("acme")
    client = await world.welcomed(hello())
    await client.complete()

    world.now_ms += 5_000
    await client.until("heartbeat", control_plane_now_unix_ms=world.now_ms)
    await client.send(heartbeat={})

    world.subscribe("acme", "free")
    await client.until("heartbeat", revision=world.revision())
    assert client.customers() == ["acme", "acme"]
    await client.send(usage=batch(record(1, entry())))
    await client.until("heartbeat", usage_revision=1)
    assert "totals" in client.kinds()


async def test_a_silent_stream_is_ended(quick_world: SyncWorld) -> None:
    client = await quick_world.welcomed(hello())

    end = await client.ended()

    assert end.code is grpc.StatusCode.UNAVAILABLE
    assert "silent" in end.details
    assert len(quick_world.registry) == 0
