"""The whole path once: catalog in, decision out, usage back."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb


def test_apply_push_check_consume_report_and_usage(world: World) -> None:
    api, admin = world.api(), world.admin()
    first = check(api, "acme", "api.calls").decision
    assert first.allowed
    assert first.decided_by == pb.DECIDED_BY_CACHE
    assert (first.HasField("max_overshoot"), first.max_overshoot) == (True, 0)
    unlimited = check(api, "acme", "events").decision
    assert not unlimited.HasField("max_overshoot"), "nothing claims more than it holds"
    for _ in range(10):
        assert consume(api, "acme", "api.calls").decision.allowed
    refusal = consume(api, "acme", "api.calls").decision
    assert refusal.reason == pb.REASON_LIMIT_REACHED
    assert (refusal.limit, refusal.used, refusal.remaining) == (10, 10, 0)
    assert [hint.plan for hint in refusal.upgrade_hints] == ["pro"]
    api.Report(sidecar_pb.ReportRequest(customer="acme", feature="events", amount=7), timeout=5)
    eventually(lambda: admin.used("acme", "api.calls") == 10)
    eventually(lambda: admin.used("acme", "events") == 7)


def test_a_plan_change_is_enforced_while_the_sidecar_runs(world: World) -> None:
    api = world.api()
    for _ in range(10):
        consume(api, "acme", "api.calls")
    assert not check(api, "acme", "api.calls").decision.allowed
    world.admin().apply(catalog(calls=12))
    raised = eventually(lambda: (d := check(api, "acme", "api.calls").decision).allowed and d)
    assert raised.remaining == 2
    assert raised.used == 10


def test_the_unix_socket_answers_the_same(world: World) -> None:
    over_tcp = check(world.api(), "acme", "api.calls").decision
    over_socket = check(
        world.api(f"unix:{world.sidecar_dir / 'sidecar.sock'}"), "acme", "api.calls"
    ).decision
    assert over_socket.limit == over_tcp.limit == 10


def test_a_customer_made_a_moment_ago_is_never_unknown(world: World) -> None:
    api, admin = world.api(), world.admin()
    for index in range(20):
        admin.create(f"new-{index}")
        assert check(api, f"new-{index}", "api.calls").decision.allowed
    nobody = check(api, "nobody", "api.calls").decision
    assert nobody.reason == pb.REASON_CUSTOMER_UNKNOWN
    admin.create("nobody")
    eventually(lambda: check(api, "nobody", "api.calls").decision.allowed)


def test_batch_entitlements_and_watch(world: World) -> None:
    api = world.api()
    batch = api.BatchCheck(
        sidecar_pb.BatchCheckRequest(
            checks=[
                sidecar_pb.CheckRequest(customer="acme", feature=feature)
                for feature in ("api.calls", "sso", "nonsense")
            ]
        ),
        timeout=5,
    )
    assert [decision.reason for decision in batch.decisions] == [
        pb.REASON_UNSPECIFIED,
        pb.REASON_FEATURE_NOT_IN_PLAN,
        pb.REASON_FEATURE_UNKNOWN,
    ]
    entitlements = api.GetEntitlements(
        sidecar_pb.GetEntitlementsRequest(customer="acme"), timeout=5
    ).entitlements
    assert (entitlements.catalog, entitlements.plan) == ("shop", "free")
    assert [f.feature for f in entitlements.features if f.enabled] == [
        "api.calls",
        "tokens",
        "events",
    ]
    watch = api.Watch(sidecar_pb.WatchRequest(customer="acme"), timeout=20)
    used = [0]
    for response in watch:
        used.append(response.entitlements.features[0].limits[0].used)
        if used[-1] == 3:
            break
        consume(api, "acme", "api.calls", 3)
    watch.cancel()
    assert used[-1] == 3


def test_a_key_gets_its_first_answer_after_a_restart_too(world: World) -> None:
    api = world.api()
    first = consume(api, "acme", "api.calls", 3, key="k1")
    assert not first.replayed
    again = consume(api, "acme", "api.calls", 3, key="k1")
    assert again.replayed
    assert again.receipt == first.receipt
    world.sidecar.kill()
    world.sidecar.start()
    after = consume(api, "acme", "api.calls", 3, key="k1")
    assert after.replayed
    assert after.receipt == first.receipt
    with pytest.raises(grpc.RpcError) as other_payload:
        consume(api, "acme", "api.calls", 4, key="k1")
    assert other_payload.value.code() is grpc.StatusCode.ABORTED
    eventually(lambda: world.admin().used("acme", "api.calls") == 3)


def test_health_and_reflection_stand_beside_the_api(world: World) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{world.sidecar_port}")
    with channel:
        health = health_pb2_grpc.HealthStub(channel)
        eventually(
            lambda: (
                health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
                == health_pb2.HealthCheckResponse.SERVING
            )
        )
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answer = next(reflection.ServerReflectionInfo(asked, timeout=5))
        names = {service.name for service in answer.list_services_response.service}
        assert "weighbridge.v1.SidecarService" in names
