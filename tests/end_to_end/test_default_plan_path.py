"""Ids nobody provisioned, on two sidecars, from the first call to the customer that was made."""

from __future__ import annotations

import grpc
import pytest

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import types_pb2 as pb

OPEN = catalog().replace("catalog: shop\n", "catalog: shop\ndefault_plan: free\n")


def customers(world: World) -> set[str]:
    admin = world.admin()
    response = admin.stub.ListCustomers(
        admin_pb.ListCustomersRequest(), metadata=admin.metadata(), timeout=10
    )
    return {each.id for each in response.customers}


def test_who_nobody_provisioned_is_served_and_made_with_the_first_usage(world: World) -> None:
    first, admin = world.api(), world.admin()
    assert check(first, "new", "api.calls").decision.reason == pb.REASON_CUSTOMER_UNKNOWN
    admin.apply(OPEN)
    eventually(lambda: check(first, "new", "api.calls").decision.allowed)
    second = world.another_sidecar("second", WEIGHBRIDGE_SIDECAR_MODE="on_demand")
    assert check(second, "new", "api.calls").decision.allowed
    assert customers(world) == {"acme"}

    assert consume(first, "new", "api.calls", 4).decision.allowed
    assert consume(second, "new", "api.calls", 3).decision.allowed
    eventually(lambda: admin.used("new", "api.calls") == 7)
    for api in (first, second):
        eventually(lambda api=api: check(api, "new", "api.calls").decision.used == 7)
        assert not check(api, "new", "api.calls", 4).decision.allowed
    assert customers(world) == {"acme", "new"}
    with pytest.raises(grpc.RpcError) as refused:
        admin.create("new")
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    metric = "weighbridge_control_plane_customers_unprovisioned_total 1.0"
    assert metric in world.control_plane.probe("/metrics")[1]

    request = admin_pb.SetSubscriptionRequest(customer="new", plan="pro")
    admin.stub.SetSubscription(request, metadata=admin.metadata(), timeout=10)
    eventually(lambda: check(second, "new", "api.calls", 4).decision.allowed)
    admin.apply(catalog())
    eventually(
        lambda: check(first, "nobody", "api.calls").decision.reason == pb.REASON_CUSTOMER_UNKNOWN
    )
    assert check(first, "new", "api.calls", 4).decision.allowed


def test_usage_of_who_came_in_an_outage_makes_the_customer_afterwards(world: World) -> None:
    api, admin = world.api(), world.admin()
    admin.apply_cached(api, OPEN)
    eventually(lambda: check(api, "new", "api.calls").decision.allowed)
    world.control_plane.kill()
    assert consume(api, "new", "api.calls", 6).decision.allowed
    world.sidecar.kill()
    world.sidecar.start(wait_ready=False)
    world.control_plane.start()
    world.sidecar.wait_ready()
    eventually(lambda: admin.used("new", "api.calls") == 6)
    eventually(lambda: check(api, "new", "api.calls").decision.used == 6)
    assert not consume(api, "new", "api.calls", 5).decision.allowed
    assert consume(api, "new", "api.calls", 4).decision.allowed
