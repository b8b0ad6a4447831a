"""What is acquired on one pod and released on another, and what a change of plan would lose."""

from __future__ import annotations

import grpc
import pytest

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.cli.exit_codes import ExitCode
from weighbridge.cli.root import run
from weighbridge.client import SyncClient
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import types_pb2 as pb

HELD = (
    catalog()
    .replace(
        "  sso: {type: boolean}\n",
        "  sso: {type: boolean}\n  projects: {type: metered, meter: allocation}\n",
    )
    .replace(
        "      events: unlimited\n",
        "      events: unlimited\n      projects: {limits: [{limit: 3}]}\n",
    )
    .replace("      sso: true\n", "      sso: true\n      projects: {limits: [{limit: 10}]}\n")
)


def test_what_one_sidecar_acquired_another_releases_and_the_limit_holds(world: World) -> None:
    first, admin = world.api(), world.admin()
    admin.apply(HELD)
    eventually(lambda: check(first, "acme", "projects").decision.allowed)
    second = world.another_sidecar("second")
    assert consume(first, "acme", "projects", 3).decision.allowed
    # Before the total of the first is here, too.
    released = consume(second, "acme", "projects", -2)
    assert (released.decision.allowed, released.receipt.amount) == (True, -2)
    eventually(lambda: admin.used("acme", "projects") == 1)
    for api in (first, second):
        eventually(lambda api=api: check(api, "acme", "projects").decision.used == 1)
        assert not check(api, "acme", "projects", 3).decision.allowed
    assert consume(second, "acme", "projects", 2).decision.allowed
    eventually(lambda: not check(first, "acme", "projects").decision.allowed)
    refusal = consume(first, "acme", "projects").decision
    assert (refusal.reason, refusal.limit_id, refusal.used) == (pb.REASON_LIMIT_REACHED, "held", 3)
    with pytest.raises(grpc.RpcError, match="amount: -1 is negative"):
        consume(first, "acme", "api.calls", -1)


def test_a_downgrade_waits_for_what_is_held(world: World) -> None:
    api, admin = world.api(), world.admin()
    admin.apply(HELD)
    admin.create("builder", plan="pro")
    eventually(lambda: check(api, "builder", "projects").decision.allowed)
    assert consume(api, "builder", "projects", 5).decision.allowed
    eventually(lambda: admin.used("builder", "projects") == 5)
    request = admin_pb.SetSubscriptionRequest(customer="builder", plan="free")

    def downgrade() -> None:
        admin.stub.SetSubscription(request, metadata=admin.metadata(), timeout=10)

    with pytest.raises(grpc.RpcError, match="release 2 first") as refused:
        downgrade()
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    consume(api, "builder", "projects", -2)
    eventually(lambda: admin.used("builder", "projects") == 3)
    downgrade()
    eventually(lambda: check(api, "builder", "projects", 0).decision.limit == 3)
    assert not check(api, "builder", "projects").decision.allowed


def test_a_restart_forgets_no_release_and_an_over_release_shows(world: World) -> None:
    api, admin = world.api(), world.admin()
    admin.apply_cached(api, HELD)
    eventually(lambda: check(api, "acme", "projects").decision.allowed)
    world.control_plane.kill()
    consume(api, "acme", "projects", 3)
    consume(api, "acme", "projects", -2)
    world.sidecar.kill()
    world.sidecar.start(wait_ready=False)
    world.control_plane.start()
    world.sidecar.wait_ready()
    eventually(lambda: check(api, "acme", "projects").decision.used == 1)
    with SyncClient(f"127.0.0.1:{world.sidecar_port}") as client:
        with client.allocation("acme", "projects", 2) as held:
            assert held.decision.used == 3
            assert not client.acquire("acme", "projects")
        client.release("acme", "projects", 2)
    metric = "weighbridge_control_plane_allocations_overdrawn"
    eventually(lambda: f"{metric} 1.0" in world.control_plane.probe("/metrics")[1])
    assert "more was released than acquired" in world.control_plane.log.read_text()
    sidecar = f"127.0.0.1:{world.sidecar_port}"
    corrected = ["report", "acme", "projects", "--amount", "1", "--sidecar", sidecar]
    assert run(corrected) == ExitCode.OK
    eventually(lambda: f"{metric} 0.0" in world.control_plane.probe("/metrics")[1])
    released = ["consume", "acme", "projects", "--amount", "-1", "--sidecar", sidecar]
    assert run(released) == ExitCode.OK
