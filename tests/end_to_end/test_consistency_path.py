"""How limits are held, with real processes: leased without being asked to, and authoritative."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import types_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

LIMIT = 60
OPEN = catalog(LIMIT).replace("catalog: shop\n", "catalog: shop\ndefault_plan: free\n")
AUTHORITATIVE = catalog(LIMIT).replace(
    "api.calls: {type: metered,", "api.calls: {type: metered, consistency: authoritative,"
)
RELEASED = catalog(LIMIT).replace(
    "api.calls: {type: metered,", "api.calls: {type: metered, lost_lease: release,"
)
SEATS = (
    catalog()
    .replace("{type: boolean}\n", "{type: boolean}\n  seats: {type: metered, meter: allocation}\n")
    .replace("events: unlimited\n", "events: unlimited\n      seats: {limits: [{limit: 3}]}\n")
)


def drained(apis: list[SidecarServiceStub], customer: str, decided: Callable[..., None]) -> int:
    """Consume one unit after the other everywhere at once until refused; return how many passed."""
    passed = [0] * len(apis)

    def drain(index: int) -> None:
        while (decision := consume(apis[index], customer, "api.calls").decision).allowed:
            decided(decision)
            passed[index] += 1
        assert decision.reason == pb.REASON_LIMIT_REACHED

    threads = [threading.Thread(target=drain, args=(index,)) for index in range(len(apis))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return sum(passed)


def spent_from_a_lease(decision: pb.Decision) -> None:
    assert decision.decided_by == pb.DECIDED_BY_LEASE
    assert decision.HasField("max_overshoot")
    assert decision.max_overshoot == 0


def asked_upstream(decision: pb.Decision) -> None:
    assert decision.decided_by == pb.DECIDED_BY_CONTROL_PLANE
    assert decision.HasField("max_overshoot")
    assert decision.max_overshoot == 0


def test_a_hard_limit_is_never_overshot_without_saying_anything_of_it(world: World) -> None:
    world.admin().apply(catalog(LIMIT))
    apis = [world.api(), world.another_sidecar("second")]
    for api in apis:
        eventually(lambda api=api: check(api, "acme", "api.calls").decision.limit == LIMIT)

    assert drained(apis * 2, "acme", spent_from_a_lease) == LIMIT
    eventually(lambda: world.admin().used("acme", "api.calls") == LIMIT)


def test_who_nobody_provisioned_is_made_by_a_lease_and_never_gets_more(world: World) -> None:
    admin = world.admin()
    admin.apply(OPEN)
    apis = [world.api(), world.another_sidecar("second", WEIGHBRIDGE_SIDECAR_MODE="on_demand")]
    for api in apis:
        eventually(lambda api=api: check(api, "new", "api.calls").decision.limit == LIMIT)

    assert drained(apis, "new", spent_from_a_lease) == LIMIT
    eventually(lambda: admin.used("new", "api.calls") == LIMIT)
    metric = "weighbridge_control_plane_customers_unprovisioned_total 1.0"
    assert metric in world.control_plane.probe("/metrics")[1]
    found = admin.stub.GetCustomer(
        admin_pb.GetCustomerRequest(id="new"), metadata=admin.metadata(), timeout=10
    )
    assert [each.plan for each in found.customer.subscriptions] == ["free"]


def test_three_sidecars_that_ask_for_each_call_admit_exactly_the_limit(world: World) -> None:
    admin = world.admin()
    admin.apply(AUTHORITATIVE)
    apis = [world.api(), world.another_sidecar("second"), world.another_sidecar("third")]
    for api in apis:
        eventually(lambda api=api: check(api, "acme", "api.calls").decision.limit == LIMIT)
    assert check(apis[0], "acme", "api.calls").decision.decided_by == pb.DECIDED_BY_CACHE

    assert drained(apis * 2, "acme", asked_upstream) == LIMIT
    eventually(lambda: admin.used("acme", "api.calls") == LIMIT)
    # A limit that is raised is there for the next call.
    admin.apply(AUTHORITATIVE.replace(f"limit: {LIMIT},", f"limit: {LIMIT + 1},"))
    eventually(lambda: check(apis[1], "acme", "api.calls").decision.limit == LIMIT + 1)
    assert consume(apis[1], "acme", "api.calls").decision.allowed
    assert not consume(apis[2], "acme", "api.calls").decision.allowed
    world.control_plane.kill()
    refused = eventually(lambda: _outage(apis[0]))
    assert not refused.allowed


def _outage(api: SidecarServiceStub) -> pb.Decision | None:
    try:
        decision = consume(api, "acme", "api.calls").decision
    except grpc.RpcError:
        # Not known to be an outage so far: it waited for units in vain.
        return None
    return decision if decision.decided_by == pb.DECIDED_BY_OUTAGE_POLICY else None


def test_a_seat_that_was_released_is_free_at_once(world: World) -> None:
    api, admin = world.api(), world.admin()
    admin.apply(SEATS)
    eventually(lambda: check(api, "acme", "seats").decision.limit == 3)
    second = world.another_sidecar("second")
    assert consume(second, "acme", "seats").decision.allowed
    assert consume(api, "acme", "seats", 2).decision.allowed
    for _ in range(20):
        assert not consume(api, "acme", "seats").decision.allowed
        assert consume(api, "acme", "seats", -1).decision.allowed
        assert consume(api, "acme", "seats").decision.allowed
    # One that the other acquired.
    assert consume(api, "acme", "seats", -3).decision.allowed
    assert consume(api, "acme", "seats", 3).decision.allowed
    assert not consume(second, "acme", "seats").decision.allowed
    eventually(lambda: admin.used("acme", "seats") == 3)


def test_units_of_a_sidecar_that_is_lost_go_to_others_where_the_catalog_says_so(
    world: World,
) -> None:
    world.control_plane.stop()
    world.control_plane.start(
        WEIGHBRIDGE_CONTROL_PLANE_LEASE_TTL_MS="3000",
        WEIGHBRIDGE_CONTROL_PLANE_LEASE_LOST_AFTER_MS="1000",
    )
    world.admin().apply(RELEASED)
    api, second = world.api(), world.another_sidecar("second")
    eventually(lambda: check(api, "acme", "api.calls").decision.limit == LIMIT)
    eventually(lambda: check(second, "acme", "api.calls").decision.limit == LIMIT)
    decision = consume(second, "acme", "api.calls", 20).decision
    assert decision.decided_by == pb.DECIDED_BY_LEASE
    assert not decision.HasField("max_overshoot"), "it says that it may be"
    eventually(lambda: world.admin().used("acme", "api.calls") == 20)
    world._others[0].kill()

    # Whatever of its lease was left comes back to the last unit.
    eventually(lambda: consume(api, "acme", "api.calls", LIMIT - 20).decision.allowed)
