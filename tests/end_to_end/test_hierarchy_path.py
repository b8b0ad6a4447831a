"""Four levels of customers and two sidecars: what one uses up is used up for all below."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

CALLS = "api.calls"
LEAVES = ("ann", "bob", "cid")


@pytest.fixture
def family(world: World) -> World:
    """Put ann and bob under team-1, cid under team-2, both under house, and that under acme."""
    admin = world.admin()
    admin.create("house", "", "acme")
    admin.create("team-1", "", "house")
    admin.create("team-2", "", "house")
    for leaf, team in zip(LEAVES, ("team-1", "team-1", "team-2"), strict=True):
        admin.create(leaf, "", team)
    return world


@pytest.fixture
def second(family: World, tmp_path: Path) -> Iterator[World]:
    """Run another sidecar, which holds who it is asked about, at the same control plane."""
    folder = tmp_path / "second"
    folder.mkdir()
    second = World(folder)
    second.sidecar.set(
        WEIGHBRIDGE_SIDECAR_CONTROL_PLANE=f"127.0.0.1:{family.grpc_port}",
        WEIGHBRIDGE_SIDECAR_TOKEN_FILE=str(family.data_dir / "sync.token"),
        WEIGHBRIDGE_SIDECAR_MODE="on_demand",
    )
    try:
        second.sidecar.start()
        yield second
    finally:
        second.end()


def refusal(world: World, customer: str) -> pb.Decision | None:
    decision = check(world.api(), customer, CALLS).decision
    return None if decision.allowed else decision


def test_the_topmost_limit_stops_every_leaf_on_both_sidecars(family: World, second: World) -> None:
    one, two = family.api(), second.api()
    assert consume(two, "cid", CALLS, 3).decision.limited_by == "acme"
    eventually(lambda: check(one, "ann", CALLS).decision.used == 3)
    assert consume(one, "ann", CALLS, 5).decision.allowed
    eventually(lambda: check(two, "bob", CALLS).decision.used == 8)
    assert consume(two, "bob", CALLS, 2).decision.allowed
    for world in (family, second):
        for leaf in LEAVES:
            decision = eventually(lambda: refusal(world, leaf))  # noqa: B023 - asked at once
            assert (decision.reason, decision.limited_by) == (pb.REASON_LIMIT_REACHED, "acme")
            assert (decision.limit_id, decision.used, decision.limit) == ("month", 10, 10)
            assert [hint.plan for hint in decision.upgrade_hints] == ["pro"]
    # Usage stays with whoever used it.
    eventually(lambda: family.admin().used("ann", CALLS) == 5)
    assert family.admin().used("acme", CALLS) == 0


def test_an_override_stops_one_leaf_and_no_other(family: World, second: World) -> None:
    admin = family.admin()
    entitlement = pb.Entitlement(
        feature=CALLS, enabled=True, limits=[pb.Limit(id="month", limit=2)]
    )
    request = admin_pb.SetOverrideRequest(customer="ann", entitlement=entitlement)
    admin.stub.SetOverride(request, metadata=admin.metadata(), timeout=10)
    assert consume(second.api(), "ann", CALLS, 2).decision.allowed
    for world in (family, second):
        decision = eventually(lambda: refusal(world, "ann"))  # noqa: B023 - asked at once
        assert (decision.limited_by, decision.limit, decision.used) == ("", 2, 2)
        assert consume(world.api(), "bob", CALLS).decision.allowed
        assert consume(world.api(), "cid", CALLS).decision.allowed
    view = (
        family.api()
        .GetEntitlements(sidecar_pb.GetEntitlementsRequest(customer="ann"), timeout=5)
        .entitlements
    )
    calls = next(each for each in view.features if each.feature == CALLS)
    assert view.inherited_from == "acme"
    assert [limit.limited_by for limit in calls.limits] == ["", "acme"]


def test_a_watch_of_a_leaf_sees_what_others_use_above(family: World) -> None:
    api = family.api()
    watch = api.Watch(sidecar_pb.WatchRequest(customer="ann"), timeout=20)
    next(watch)
    assert consume(api, "cid", CALLS, 4).decision.allowed
    for answer in watch:
        calls = next(each for each in answer.entitlements.features if each.feature == CALLS)
        if calls.limits[0].used == 4:
            break
    watch.cancel()


def test_revoking_one_above_refuses_all_below_and_survives_restarts(
    family: World, second: World
) -> None:
    assert consume(second.api(), "ann", CALLS).decision.allowed
    admin = family.admin()
    request = admin_pb.SetCustomerStatusRequest(id="house", status=pb.CUSTOMER_STATUS_REVOKED)
    admin.stub.SetCustomerStatus(request, metadata=admin.metadata(), timeout=10)
    for world in (family, second):
        decision = eventually(lambda: refusal(world, "ann"))  # noqa: B023 - asked at once
        assert (decision.reason, decision.limited_by) == (pb.REASON_REVOKED, "house")
    family.sidecar.stop()
    family.control_plane.kill()
    family.sidecar.start()
    decision = check(family.api(), "ann", CALLS).decision
    assert (decision.reason, decision.limited_by) == (pb.REASON_REVOKED, "house")


def test_usage_that_was_not_settled_still_counts_above_after_a_restart(family: World) -> None:
    api = family.api()
    family.admin().apply_cached(api, catalog())
    assert consume(api, "ann", CALLS).decision.allowed
    eventually(lambda: family.usage_records_unsettled() == 0)
    # A clean stop leaves every snapshot on disk.
    family.sidecar.stop()
    family.sidecar.start()
    family.control_plane.kill()
    assert consume(api, "ann", CALLS, 4).decision.allowed
    family.sidecar.kill()
    family.sidecar.start()
    decision = check(api, "bob", CALLS).decision
    assert (decision.limited_by, decision.used) == ("acme", 5)
