"""Credits and partner apps from the file to the sidecar: credits are spent, apps are shown."""

from __future__ import annotations

from tests.end_to_end.world import World, catalog, consume, eventually
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

CREDITS = """credit_types:
  ai:
    name: AI credits
    decimals: 0
    costs: [{feature: tokens, match: {model: large}, cost: 250, per: 1000000},
            {feature: tokens, cost: 25, per: 1000000}]
partner_apps:
  sheets:
    permissions: [api.calls]
    quotas: {api.calls: {per_customer: [{limit: 1, window: day}]}}
    shares: [{of: sales, currency: USD, platform_percent: 15}]
"""
GRANTS = """    name: Free
    credit_grants:
      - {id: monthly, type: ai, amount: 100.5, every: month, per_seat: true}
"""


def credited() -> str:
    plain = catalog().replace(
        "window: day, kind: soft}]}", "window: day, kind: soft}], credits: ai}"
    )
    return plain.replace("    name: Free\n", GRANTS) + CREDITS


def test_credits_reach_the_sidecar_and_refuse_what_they_do_not_pay(world: World) -> None:
    api, admin = world.api(), world.admin()
    applied = admin.apply(credited())
    assert [notice.split(",")[0] for notice in applied.notices] == [
        "partner apps are kept and shown",
    ]
    request = sidecar_pb.GetEntitlementsRequest(customer="acme")

    def granted() -> pb.CustomerEntitlements | None:
        found = api.GetEntitlements(request, timeout=5).entitlements
        return found if found.credit_grants else None

    entitlements = eventually(granted)
    (grant,) = entitlements.credit_grants
    assert (grant.id, grant.amount_micro, grant.per_seat) == ("monthly", 100_500_000, False)
    assert [(unit.credit_type, unit.name) for unit in entitlements.credit_units] == [
        ("ai", "AI credits")
    ]
    paid = {each.feature: each.credits.credit_type for each in entitlements.features}
    assert paid == {"api.calls": "", "tokens": "ai", "events": "", "sso": ""}
    # 100,000 tokens cost 2.5 credits, of which 100.5 are granted.
    eventually(lambda: consume(api, "acme", "tokens", amount=100_000).decision.allowed)
    large = sidecar_pb.ConsumeRequest(
        customer="acme", feature="tokens", amount=500_000, dimensions={"model": "large"}
    )
    refused = api.Consume(large, timeout=10).decision
    assert (refused.allowed, refused.reason) == (False, pb.REASON_CREDITS_EXHAUSTED)
    # 98 credits pay for 392,000 large ones.
    assert refused.allowed_amount == 392_000
    shown = admin.stub.GetCatalog(
        admin_pb.GetCatalogRequest(catalog="shop"), metadata=admin.metadata(), timeout=5
    ).snapshot
    assert [app.id for app in shown.partner_apps] == ["sheets"]
    assert [cost.micro_per_million for cost in shown.credit_types[0].costs] == [
        25_000_000,
        250_000_000,
    ]
