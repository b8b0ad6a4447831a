"""Explanations over a real server: what gave which part, and what is settled of each limit."""

from __future__ import annotations

from hashlib import sha256

import grpc
import pytest
from admin_server import AdminServer
from provisioned import NOW_MS, Environment

from control_plane import provisioning
from control_plane.metering.counters import CounterCache
from control_plane.metering.ingest import settle_records
from control_plane.metering.records import UsageEntry, UsageKind, UsageRecord
from control_plane.provisioning import NewCustomer
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import types_pb2

CATALOG = """
catalog: api
features:
  api.calls: {type: metered, unit: call}
  chats: {type: metered}
  sso: {type: boolean}
plans:
  team:
    features:
      api.calls:
        limits: [{limit: 100, window: month}]
        rates: [{limit: 5, per: second}]
      chats: {limits: [{id: five, limit: 20, window: {session: {hours: 5}}}]}
add_ons:
  more: {features: {api.calls: {limits: [{id: month, limit: 10}]}}}
"""


def use(environment: Environment, number: int, *entries: UsageEntry) -> None:
    digest = sha256(repr(entries).encode()).digest()[:16]
    record = UsageRecord("sc-1", "e1", number, digest, entries)
    with environment.database.writing() as connection:
        cache = CounterCache(environment.library)
        settle_records(connection, [record], cache, environment.now_ms)


def entry(customer: str, amount: int, feature: str = "api.calls") -> UsageEntry:
    return UsageEntry(customer, "", feature, amount, NOW_MS, UsageKind.CONSUME)


@pytest.fixture
def family(environment: Environment) -> Environment:
    """Put ann and bob under acme, which is on plan team with an add-on."""
    environment.apply(CATALOG)
    environment.create("acme", "team")
    for name in ("ann", "bob"):
        new = NewCustomer(name, parent="acme")
        with environment.database.writing() as connection:
            provisioning.create_customer(connection, environment.library, new, NOW_MS)
    return environment


def kinds(explained: pb.ExplainEntitlementResponse) -> list[tuple[str, str]]:
    names = pb.ExplanationStepKind
    return [
        (step.customer, names.Name(step.kind).removeprefix("EXPLANATION_STEP_KIND_"))
        for step in explained.steps
    ]


async def test_what_is_inherited_is_explained_with_all_that_is_used(
    family: Environment, server: AdminServer
) -> None:
    use(family, 1, entry("ann", 3), entry("bob", 4), entry("bob", 2, "chats"))
    async with server.stub() as admin:
        bought = [{"add_on": "more", "quantity": 2}]
        request = pb.SetSubscriptionRequest(customer="acme", plan="team", add_ons=bought)
        await admin.SetSubscription(request)
        limit = types_pb2.Limit(id="month", limit=5)
        entitlement = types_pb2.Entitlement(feature="api.calls", enabled=True, limits=[limit])
        await admin.SetOverride(pb.SetOverrideRequest(customer="ann", entitlement=entitlement))
        asked = pb.ExplainEntitlementRequest(customer="ann", feature="api.calls")
        explained = await admin.ExplainEntitlement(asked)
        chats = await admin.ExplainEntitlement(
            pb.ExplainEntitlementRequest(customer="ann", feature="chats")
        )
        sso = await admin.ExplainEntitlement(
            pb.ExplainEntitlementRequest(customer="ann", feature="sso")
        )
    assert kinds(explained) == [
        ("ann", "NO_SUBSCRIPTION"),
        ("ann", "INHERITED"),
        ("ann", "OVERRIDE"),
        ("acme", "PLAN"),
        ("acme", "ADD_ON"),
        ("acme", "BOUND"),
    ]
    plan = explained.steps[3]
    assert (plan.plan_version, plan.version_choice) == (1, pb.VERSION_CHOICE_NEWEST)
    assert [(each.limited_by, each.limit.limit, each.used) for each in explained.limits] == [
        ("", 5, 3),
        ("acme", 120, 7),
    ]
    assert [(each.limited_by, each.rate.limit) for each in explained.rates] == [("acme", 5)]
    (session,) = chats.limits
    assert (session.limited_by, session.used, session.remaining) == ("acme", 2, 18)
    assert session.window_start_unix_ms == NOW_MS
    assert (sso.reason, sso.limited_by) == (types_pb2.REASON_FEATURE_NOT_IN_PLAN, "acme")
    assert not sso.HasField("entitlement")


async def test_another_instant_is_explained_as_it_was(
    family: Environment, server: AdminServer
) -> None:
    use(family, 1, entry("ann", 3))
    async with server.stub() as admin:
        month_ms = 32 * 24 * 3_600_000
        later = pb.ExplainEntitlementRequest(
            customer="ann", feature="api.calls", at_unix_ms=NOW_MS + month_ms
        )
        assert (await admin.ExplainEntitlement(later)).limits[0].used == 0
        before = pb.ExplainEntitlementRequest(
            customer="acme", feature="api.calls", at_unix_ms=NOW_MS - 1
        )
        explained = await admin.ExplainEntitlement(before)
    assert explained.reason == types_pb2.REASON_NO_ACTIVE_SUBSCRIPTION
    assert explained.changes_at_unix_ms == NOW_MS


@pytest.mark.parametrize(
    ("fields", "code", "problem"),
    [
        ({"customer": "nobody"}, grpc.StatusCode.NOT_FOUND, "customer 'nobody' does not exist"),
        ({"feature": "none"}, grpc.StatusCode.NOT_FOUND, "feature 'none' is not in catalog 'api'"),
        ({"resource": "ws"}, grpc.StatusCode.NOT_FOUND, "has no resource 'ws'"),
        ({"feature": ""}, grpc.StatusCode.INVALID_ARGUMENT, "feature"),
        ({"at_unix_ms": -1}, grpc.StatusCode.INVALID_ARGUMENT, "at_unix_ms: -1 is negative"),
    ],
)
async def test_what_there_is_not_is_one_error(
    family: Environment,
    server: AdminServer,
    fields: dict[str, str | int],
    code: grpc.StatusCode,
    problem: str,
) -> None:
    request = pb.ExplainEntitlementRequest(customer="acme", feature="api.calls")
    for name, value in fields.items():
        setattr(request, name, value)
    async with server.stub() as admin:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await admin.ExplainEntitlement(request)
    assert refused.value.code() is code
    assert problem in (refused.value.details() or "")
