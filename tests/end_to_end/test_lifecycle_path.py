"""Subscriptions change, and the running sidecar answers accordingly."""

from __future__ import annotations

from typing import Any

from tests.end_to_end.world import Admin, World, catalog, check, eventually
from weighbridge.runtime.clock import wall_ms
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import types_pb2 as pb


def call(admin: Admin, method: str, request: Any) -> Any:
    return getattr(admin.stub, method)(request, metadata=admin.metadata(), timeout=10)


def limit_of(world: World, customer: str) -> int:
    return check(world.api(), customer, "api.calls").decision.limit


def test_plan_versions_reach_the_sidecar_before_those_who_keep_them(world: World) -> None:
    admin = world.admin()
    request = admin_pb.ApplyCatalogRequest(
        document=catalog(calls=20), migration=pb.MIGRATION_NEW_CUSTOMERS
    )
    call(admin, "ApplyCatalog", request)
    admin.create("later")
    eventually(lambda: limit_of(world, "later") == 20)
    assert limit_of(world, "acme") == 10
    admin.apply(catalog(calls=30))
    eventually(lambda: limit_of(world, "later") == 30)
    assert limit_of(world, "acme") == 10

    call(
        admin, "PinSubscription", admin_pb.PinSubscriptionRequest(customer="later", plan_version=2)
    )
    eventually(lambda: limit_of(world, "later") == 20)
    # What it holds on disk is as good.
    assert world.sidecar.stop() == 0
    world.control_plane.kill()
    world.sidecar.start()
    assert (limit_of(world, "acme"), limit_of(world, "later")) == (10, 20)
    world.control_plane.start()

    call(admin, "FollowSubscription", admin_pb.FollowSubscriptionRequest(customer="acme"))
    eventually(lambda: limit_of(world, "acme") == 30)
    call(admin, "RollbackCatalog", admin_pb.RollbackCatalogRequest(catalog="shop", version=1))
    eventually(lambda: limit_of(world, "acme") == 10)
    assert limit_of(world, "later") == 20
    assert all(
        not sidecar.nacks
        for sidecar in call(admin, "ListSidecars", admin_pb.ListSidecarsRequest()).sidecars
    )


def test_what_is_to_happen_happens_without_the_control_plane(world: World) -> None:
    admin, api = world.admin(), world.api()
    call(
        admin,
        "SetSubscriptionStatus",
        admin_pb.SetSubscriptionStatusRequest(
            customer="acme", status=pb.SUBSCRIPTION_STATUS_PAUSED, until_unix_ms=wall_ms() + 3_000
        ),
    )
    refused = eventually(lambda: (d := check(api, "acme", "api.calls").decision).reason and d)
    assert refused.reason == pb.REASON_NO_ACTIVE_SUBSCRIPTION
    world.control_plane.kill()
    # No lease is needed of what has no limit.
    eventually(lambda: check(api, "acme", "events").decision.allowed)


def test_a_trial_by_hand_and_seats(world: World) -> None:
    admin = world.admin()
    document = catalog().replace("limit: 100000,", "limit: 100, per_seat: true,")
    admin.apply(document)
    request = admin_pb.SetSubscriptionRequest(
        customer="acme", plan="pro", trial_days=3, trial_then="free", quantity=4
    )
    response = call(admin, "SetSubscription", request)
    assert [s.is_trial for s in response.customer.subscriptions] == [True, False]
    eventually(lambda: limit_of(world, "acme") == 400)
