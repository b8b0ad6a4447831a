"""A draft from the command line to the sidecar's metrics, and no answer changed by it."""

from __future__ import annotations

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb


def shadow_decisions(world: World, draft: str) -> float:
    """Return how many allowed calls the draft would have answered so."""
    _, metrics = world.sidecar.probe("/metrics")
    name = 'weighbridge_shadow_decisions_total{catalog="shop",draft='
    name += f'"{draft}",feature="api.calls",live="allowed"}}'
    for line in metrics.splitlines():
        if line.startswith(name):
            return float(line.split()[-1])
    return 0.0


def put(world: World, document: str) -> int:
    admin = world.admin()
    request = admin_pb.PutDraftRequest(document=document, source_name="draft.yaml")
    return admin.stub.PutDraft(request, metadata=admin.metadata(), timeout=10).draft.number


def report(world: World) -> sidecar_pb.GetShadowReportResponse:
    request = sidecar_pb.GetShadowReportRequest(catalog="shop", customers_max=5)
    return world.api().GetShadowReport(request, timeout=5)


def test_a_draft_with_a_lower_limit_is_counted_and_changes_no_answer(world: World) -> None:
    api, admin = world.api(), world.admin()
    number = put(world, catalog(calls=2))
    eventually(lambda: [each.number for each in report(world).reports] == [number])
    for used in range(1, 6):
        answer = consume(api, "acme", "api.calls").decision
        assert (answer.allowed, answer.limit, answer.catalog_version) == (True, 10, 1)
        assert answer.remaining == 10 - used
    assert shadow_decisions(world, "allowed") == 2
    assert shadow_decisions(world, "limit_reached") == 3
    (told,) = report(world).reports
    assert [(each.customer, each.newly_refused) for each in told.customers] == [("acme", 3)]
    outcomes = {(each.live, each.draft): each.calls for each in told.outcomes}
    assert outcomes == {(0, 0): 2, (0, pb.REASON_LIMIT_REACHED): 3}
    eventually(lambda: admin.used("acme", "api.calls") == 5)

    # Alone and started again, the sidecar has the draft, and still decides by the live catalog.
    eventually(lambda: world.usage_records_unsettled() == 0)
    world.control_plane.stop()
    world.sidecar.stop()
    world.sidecar.start()
    assert [each.number for each in report(world).reports] == [number]
    decision = check(api, "acme", "api.calls", 5).decision
    assert (decision.allowed, decision.catalog_version) == (True, 1)

    # Applied, it is no draft any more.
    world.control_plane.start()
    admin.apply(catalog(calls=2))
    eventually(lambda: not check(api, "acme", "api.calls").decision.allowed)
    eventually(lambda: not report(world).reports)
    assert shadow_decisions(world, "allowed") == 0
