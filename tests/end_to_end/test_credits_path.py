"""Credits and partner apps from the file to the sidecar: shown everywhere, enforced nowhere yet."""

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


def test_credits_reach_the_sidecar_and_refuse_nothing_yet(world: World) -> None:
    api, admin = world.api(), world.admin()
    applied = admin.apply(credited())
    assert [notice.split(",")[0] for notice in applied.notices] == [
        "credits are kept and shown",
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
    # 900,000 large tokens cost 225 credits, of which 100.5 are granted: nothing is refused yet.
    assert consume(api, "acme", "tokens", amount=900_000).decision.allowed
    shown = admin.stub.GetCatalog(
        admin_pb.GetCatalogRequest(catalog="shop"), metadata=admin.metadata(), timeout=5
    ).snapshot
    assert [app.id for app in shown.partner_apps] == ["sheets"]
    assert [cost.micro_per_million for cost in shown.credit_types[0].costs] == [
        25_000_000,
        250_000_000,
    ]
