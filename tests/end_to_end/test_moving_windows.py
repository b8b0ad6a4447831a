"""Rolling windows and sessions, from the catalog to the application's answer and over restarts."""

from __future__ import annotations

from datetime import timedelta

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.client import SyncClient
from weighbridge.rules.window import WindowKind
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import types_pb2 as pb

HOUR_MS = 3_600_000


def moving(session: int) -> str:
    limits = (
        f"{{limit: {session}, window: {{session: {{hours: 5}}}}}}, "
        "{limit: 8, window: {rolling: day}}"
    )
    return catalog().replace("{limit: 10, window: month}", limits, 1)


def decided(world: World, customer: str, amount: int = 1) -> pb.Decision:
    return check(world.api(), customer, "api.calls", amount).decision


def test_a_session_and_a_rolling_window_hold_together_and_survive(world: World) -> None:
    api, admin = world.api(), world.admin()
    consume(api, "acme", "api.calls", 2)
    admin.apply(moving(session=3))
    # What was used before the plan had these windows counts in them.
    eventually(lambda: (d := decided(world, "acme")).limit_id == "session" and d.used == 2)
    last = consume(api, "acme", "api.calls").decision
    assert (last.limit_id, last.used, last.remaining) == ("session", 3, 0)
    assert last.window_end_unix_ms - last.window_start_unix_ms == 5 * HOUR_MS
    refusal = consume(api, "acme", "api.calls").decision
    assert refusal.reason == pb.REASON_LIMIT_REACHED
    assert 0 < refusal.retry_after_ms <= 5 * HOUR_MS
    assert refusal.window_end_unix_ms == last.window_end_unix_ms
    assert [hint.plan for hint in refusal.upgrade_hints] == ["pro"]

    eventually(lambda: world.usage_records_unsettled() == 0)
    world.sidecar.kill()
    world.sidecar.start()
    again = eventually(lambda: (d := decided(world, "acme")).used == 3 and d)
    assert again.window_start_unix_ms == last.window_start_unix_ms
    world.control_plane.kill()
    world.control_plane.start()
    world.admin().apply(moving(session=6))
    raised = eventually(lambda: (d := decided(world, "acme")).allowed and d)
    assert (raised.limit, raised.used) == (6, 3)
    assert raised.window_end_unix_ms == last.window_end_unix_ms
    assert not consume(api, "acme", "api.calls", 6).decision.allowed
    assert consume(api, "acme", "api.calls", 3).decision.allowed
    with SyncClient(f"127.0.0.1:{world.sidecar_port}") as client:
        session, rolling = client.entitlements("acme").features["api.calls"].limits
    assert (session.window, session.length) == (WindowKind.SESSION, timedelta(hours=5))
    assert (rolling.window, rolling.length) == (WindowKind.ROLLING, timedelta(days=1))
    assert (session.used, rolling.used) == (6, 6)
    assert rolling.window_end is not None
    assert session.window_end is not None
    assert rolling.window_end - session.window_end > timedelta(hours=19)


def test_no_session_is_open_before_the_first_use(world: World) -> None:
    api, admin = world.api(), world.admin()
    admin.apply(moving(session=3))
    admin.create("beta")
    eventually(lambda: decided(world, "beta").limit_id == "session")
    refusal = consume(api, "beta", "api.calls", 4).decision
    assert not refusal.allowed
    assert not refusal.HasField("window_start_unix_ms")
    assert not refusal.HasField("retry_after_ms")
    with SyncClient(f"127.0.0.1:{world.sidecar_port}") as client:
        session, rolling = client.entitlements("beta").features["api.calls"].limits
        assert (session.window_start, session.window_end) == (None, None)
        assert (rolling.window_start, rolling.window_end) == (None, None)
        opened = client.consume("beta", "api.calls").decision
        assert opened.resets_in == timedelta(hours=5)


def test_an_override_brings_a_rolling_window(world: World) -> None:
    api, admin = world.api(), world.admin()
    window = pb.Window(kind=pb.WINDOW_KIND_ROLLING, length_ms=HOUR_MS)
    limit = pb.Limit(id="hourly", kind=pb.LIMIT_KIND_HARD, limit=2, window=window)
    request = admin_pb.SetOverrideRequest(
        customer="acme",
        entitlement=pb.Entitlement(feature="events", enabled=True, limits=[limit]),
    )
    customer = admin.stub.SetOverride(request, metadata=admin.metadata(), timeout=10).customer
    assert customer.overrides[0].entitlement.limits == [limit]
    eventually(lambda: check(api, "acme", "events", 3).decision.limit_id == "hourly")
    assert consume(api, "acme", "events", 2).decision.allowed
    refusal = consume(api, "acme", "events").decision
    # One length after the end of its bucket of a minute.
    assert HOUR_MS < refusal.retry_after_ms <= HOUR_MS + 60_000
    assert refusal.retry_after_ms == refusal.resets_in_ms
