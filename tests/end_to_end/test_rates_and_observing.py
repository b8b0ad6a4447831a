"""Rates and observed features, from the catalog and an override to the application's answer."""

from __future__ import annotations

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.client import Reason, SyncClient
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

RATED = (
    catalog(calls=1_000)
    .replace("events: unlimited", "events: {rates: [{limit: 1, per: hour, burst: 3}]}")
    .replace("sso: {type: boolean}", "sso: {type: boolean, enforcement: observe}")
)
OBSERVED = RATED.replace("events: {type: metered}", "events: {type: metered, enforcement: observe}")


def test_a_rate_is_enforced_and_an_override_raises_it(world: World) -> None:
    api, admin = world.api(), world.admin()
    admin.apply(RATED)
    eventually(lambda: not check(api, "acme", "events", 4).decision.allowed)
    for _ in range(3):
        assert consume(api, "acme", "events").decision.allowed
    refusal = consume(api, "acme", "events").decision
    assert refusal.reason == pb.REASON_RATE_LIMITED
    assert (refusal.limit_id, refusal.limit, refusal.remaining) == ("per_hour", 1, 0)
    assert 0 < refusal.retry_after_ms <= 3_600_000
    assert not refusal.HasField("used")
    entitlements = api.GetEntitlements(
        sidecar_pb.GetEntitlementsRequest(customer="acme"), timeout=5
    ).entitlements
    usage = next(each for each in entitlements.features if each.feature == "events").rates[0]
    assert (usage.rate.limit, usage.rate.burst, usage.remaining) == (1, 3, 0)
    faster = pb.Rate(id="per_hour", limit=1, period=pb.RATE_PERIOD_HOUR, burst=10)
    faster.scope = pb.RATE_SCOPE_SIDECAR
    request = admin_pb.SetOverrideRequest(
        customer="acme", entitlement=pb.Entitlement(feature="events", enabled=True, rates=[faster])
    )
    customer = admin.stub.SetOverride(request, metadata=admin.metadata(), timeout=10).customer
    assert customer.overrides[0].entitlement.rates == [faster]
    eventually(lambda: check(api, "acme", "events", 7).decision.allowed)
    assert not check(api, "acme", "events", 8).decision.allowed
    eventually(lambda: admin.used("acme", "events") == 3)


def test_an_observed_feature_refuses_nobody_and_says_what_it_would_have_done(world: World) -> None:
    api, admin = world.api(), world.admin()
    admin.apply(OBSERVED)
    eventually(lambda: check(api, "acme", "sso").decision.allowed)
    with SyncClient(f"127.0.0.1:{world.sidecar_port}") as client:
        assert client.check("acme", "sso").observed_reason is Reason.FEATURE_NOT_IN_PLAN
        assert client.consume("acme", "events", 3).decision.observed_reason is None
        beyond = client.consume("acme", "events", 2)
        assert beyond.decision.allowed
        assert beyond.decision.observed_reason is Reason.RATE_LIMITED
        assert beyond.receipt is not None
    eventually(lambda: admin.used("acme", "events") == 5)
    _, metrics = world.sidecar.probe("/metrics")
    counted = 'weighbridge_sidecar_observed_refusals_total{feature="events",reason="rate_limited"}'
    assert f"{counted} 1.0" in metrics
