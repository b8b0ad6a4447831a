"""Administration over a real connection: every method, and every kind of mistake."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from admin_server import AdminServer
from provisioned import CATALOG, NOW_MS

from control_plane.provisioning import current_revision
from control_plane.storage.database import Database
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import types_pb2
from weighbridge.v1.sync_service_pb2 import SubscribedAddOn

if TYPE_CHECKING:
    # Only the type stubs tell the two kinds of stub apart.
    from weighbridge.v1.admin_service_pb2_grpc import AdminServiceAsyncStub

MEGABYTE = "x" * 2**20
UNKNOWN_ENUM: Any = 99


async def test_catalogs(server: AdminServer, admin: AdminServiceAsyncStub) -> None:
    diff = await admin.DiffCatalog(pb.DiffCatalogRequest(document=CATALOG, source_name="c.yaml"))
    assert (diff.catalog, diff.current_version, diff.customers_affected) == ("api", 0, 0)
    assert {change.kind for change in diff.changes} == {pb.CHANGE_KIND_ADDED}
    assert server.notices.catalogs == []

    request = pb.ApplyCatalogRequest(document=CATALOG, source_name="c.yaml", expected_version=0)
    applied = await admin.ApplyCatalog(request)
    assert (applied.version, list(applied.changes)) == (1, list(diff.changes))
    again = await admin.ApplyCatalog(pb.ApplyCatalogRequest(document=CATALOG))
    assert (again.version, len(again.changes)) == (1, 0)
    assert server.notices.catalogs == ["api"]

    await admin.CreateCustomer(pb.CreateCustomerRequest(id="acme", plan="pro"))
    raised = CATALOG.replace("limit: 1000", "limit: 2000")
    diff = await admin.DiffCatalog(pb.DiffCatalogRequest(document=raised))
    assert (diff.current_version, diff.customers_affected) == (1, 1)
    assert list(diff.customers_affected_sample) == ["acme"]
    [change] = diff.changes
    assert (change.before, change.after, change.customers_affected) == ("1000", "2000", 1)
    await admin.ApplyCatalog(pb.ApplyCatalogRequest(document=raised))

    current = await admin.GetCatalog(pb.GetCatalogRequest(catalog="api"))
    assert (current.summary.version, current.summary.customers) == (2, 1)
    assert (current.document, current.snapshot.version) == (raised, 2)
    first = await admin.GetCatalog(pb.GetCatalogRequest(catalog="api", version=1))
    assert (first.document, first.snapshot.version) == (CATALOG, 1)
    listed = await admin.ListCatalogs(pb.ListCatalogsRequest())
    assert list(listed.catalogs) == [current.summary]


async def test_of_two_who_apply_at_once_the_second_is_told_what_the_first_changed(
    admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    requests = [
        pb.ApplyCatalogRequest(
            document=CATALOG.replace("limit: 1000", f"limit: {limit}"), expected_version=1
        )
        for limit in (2000, 3000, 4000)
    ]
    results = await asyncio.gather(*map(admin.ApplyCatalog, requests), return_exceptions=True)

    [(applied, limit)] = [
        (result, limit)
        for result, limit in zip(results, (2000, 3000, 4000), strict=True)
        if isinstance(result, pb.ApplyCatalogResponse)
    ]
    assert applied.version == 2
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert [error.code() for error in refused] == [grpc.StatusCode.ABORTED] * 2
    changed = f"plans.pro.features.api.calls.limits.month.limit changed from 1000 to {limit}"
    assert all(changed in (error.details() or "") for error in refused)
    request = pb.ListCatalogVersionsRequest(catalog="api", with_changes=True)
    second, _ = (await admin.ListCatalogVersions(request)).versions
    [change] = second.changes
    assert (change.before, change.after, change.customers_affected) == ("1000", str(limit), 0)


async def test_a_customer(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    assert (acme.id, acme.name, acme.catalog) == ("acme", "Acme", "api")
    assert acme.status == types_pb2.CUSTOMER_STATUS_ACTIVE
    assert acme.created_at_unix_ms == NOW_MS
    assert [(each.plan, each.resource) for each in acme.subscriptions] == [("pro", "")]
    fetched = await admin.GetCustomer(pb.GetCustomerRequest(id="acme"))
    assert fetched.customer == acme
    listed = await admin.ListCustomers(pb.ListCustomersRequest())
    assert (list(listed.customers), listed.next_page_token) == ([acme], "")

    for status in (types_pb2.CUSTOMER_STATUS_REVOKED, types_pb2.CUSTOMER_STATUS_ACTIVE):
        changed = await admin.SetCustomerStatus(
            pb.SetCustomerStatusRequest(id="acme", status=status)
        )
        assert changed.customer.status == status
    with_resource = await admin.CreateResource(
        pb.CreateResourceRequest(customer="acme", resource="app")
    )
    assert list(with_resource.customer.resources) == ["app", "shop"]
    assert server.notices.customers == ["acme"] * 4


async def test_subscriptions(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    response = await admin.SetSubscription(
        pb.SetSubscriptionRequest(
            customer="acme",
            resource="shop",
            plan="pro",
            add_ons=[SubscribedAddOn(add_on="calls_500", quantity=2)],
            anchor_unix_ms=77,
        )
    )
    own, shop = response.customer.subscriptions
    assert (own.resource, shop.resource, shop.anchor_unix_ms) == ("", "shop", 77)
    assert list(shop.add_ons) == [SubscribedAddOn(add_on="calls_500", quantity=2)]
    assert not shop.HasField("plan_version")

    cancelled = await admin.CancelSubscription(
        pb.CancelSubscriptionRequest(customer="acme", resource="shop")
    )
    _, shop = cancelled.customer.subscriptions
    assert shop.status == types_pb2.SUBSCRIPTION_STATUS_CANCELED
    assert shop.ends_at_unix_ms == NOW_MS
    assert server.notices.customers == ["acme"] * 3


async def test_overrides(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    entitlement = types_pb2.Entitlement(
        feature="api.calls", enabled=True, limits=[types_pb2.Limit(id="month", limit=9)]
    )
    response = await admin.SetOverride(
        pb.SetOverrideRequest(customer="acme", entitlement=entitlement, expires_at_unix_ms=5)
    )
    [override] = response.customer.overrides
    [limit] = override.entitlement.limits
    assert (limit.limit, limit.kind) == (9, types_pb2.LIMIT_KIND_HARD)
    assert limit.window.period == types_pb2.WINDOW_PERIOD_MONTH
    assert override.expires_at_unix_ms == 5
    assert not override.HasField("starts_at_unix_ms")

    removed = await admin.RemoveOverride(
        pb.RemoveOverrideRequest(customer="acme", feature="api.calls")
    )
    assert not removed.customer.overrides
    assert server.notices.customers == ["acme"] * 3


async def test_usage_is_empty_at_first(admin: AdminServiceAsyncStub, acme: pb.Customer) -> None:
    groups = [pb.USAGE_GROUP_CUSTOMER, pb.USAGE_GROUP_DAY]
    response = await admin.QueryUsage(pb.QueryUsageRequest(customer="acme", group_by=groups))
    assert not response.rows


def _override(**fields: Any) -> pb.SetOverrideRequest:
    entitlement = types_pb2.Entitlement(enabled=True, **fields)
    return pb.SetOverrideRequest(customer="acme", entitlement=entitlement)


BAD: list[tuple[str, Any, str]] = [
    ("DiffCatalog", pb.DiffCatalogRequest(document="a: ["), "document: document:2"),
    ("DiffCatalog", pb.DiffCatalogRequest(), "document: "),
    (
        "ApplyCatalog",
        pb.ApplyCatalogRequest(document=CATALOG, source_name=MEGABYTE),
        "source_name: has 1048576 characters",
    ),
    (
        "ApplyCatalog",
        pb.ApplyCatalogRequest(document=CATALOG, expected_version=-1),
        "expected_version: -1 is negative",
    ),
    ("GetCatalog", pb.GetCatalogRequest(), "catalog: is empty"),
    ("GetCatalog", pb.GetCatalogRequest(catalog="api", version=0), "version: 0 is not a version"),
    ("CreateCustomer", pb.CreateCustomerRequest(), "id: is empty"),
    ("CreateCustomer", pb.CreateCustomerRequest(id=MEGABYTE), "id: is not an id (1048576"),
    ("CreateCustomer", pb.CreateCustomerRequest(id="a", name=MEGABYTE), "name: has 1048576"),
    ("GetCustomer", pb.GetCustomerRequest(), "id: is empty"),
    ("ListCustomers", pb.ListCustomersRequest(page_size=-1), "page_size: -1"),
    ("ListCustomers", pb.ListCustomersRequest(page_token="?"), "page_token: is not an id"),
    ("ListCustomers", pb.ListCustomersRequest(catalog="?"), "catalog: is not an id"),
    ("SetCustomerStatus", pb.SetCustomerStatusRequest(id="acme"), "status: is not set"),
    (
        "SetCustomerStatus",
        pb.SetCustomerStatusRequest(id="acme", status=UNKNOWN_ENUM),
        "status: 99 is not a known value",
    ),
    ("CreateResource", pb.CreateResourceRequest(customer="acme"), "resource: is empty"),
    ("CreateResource", pb.CreateResourceRequest(resource="r"), "customer: is empty"),
    ("SetSubscription", pb.SetSubscriptionRequest(customer="acme"), "plan: is empty"),
    (
        "SetSubscription",
        pb.SetSubscriptionRequest(customer="acme", plan="pro", anchor_unix_ms=-1),
        "anchor_unix_ms: -1 is negative",
    ),
    (
        "SetSubscription",
        pb.SetSubscriptionRequest(
            customer="acme", plan="pro", add_ons=[SubscribedAddOn(add_on="calls_500")]
        ),
        "add_ons[0].quantity: 0 is not",
    ),
    ("CancelSubscription", pb.CancelSubscriptionRequest(), "customer: is empty"),
    ("SetOverride", pb.SetOverrideRequest(customer="acme"), "entitlement: is not set"),
    ("SetOverride", _override(), "entitlement.feature: is empty"),
    ("SetOverride", _override(feature="file.mib", number=-1), "entitlement.number: -1 is negative"),
    (
        "SetOverride",
        _override(
            feature="api.calls", limits=[types_pb2.Limit(id="m", limit=1, kind=UNKNOWN_ENUM)]
        ),
        "entitlement.limits[0].kind: 99 is not a known value",
    ),
    (
        "SetOverride",
        _override(
            feature="api.calls",
            limits=[types_pb2.Limit(id="m", window=types_pb2.Window(kind=UNKNOWN_ENUM))],
        ),
        "entitlement.limits[0].window.kind: 99 is not a known value",
    ),
    ("RemoveOverride", pb.RemoveOverrideRequest(customer="acme"), "feature: is empty"),
    ("QueryUsage", pb.QueryUsageRequest(customer=MEGABYTE), "customer: is not an id"),
    (
        "QueryUsage",
        pb.QueryUsageRequest(group_by=[UNKNOWN_ENUM]),
        "group_by[0]: 99 is not a known value",
    ),
    ("QueryUsage", pb.QueryUsageRequest(group_by=[0]), "group_by[0]: is not set"),  # type: ignore[list-item]
]


async def test_bad_requests_name_their_field_and_change_nothing(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    for method, request, problem in BAD:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(admin, method)(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (method, problem)
        assert (caught.value.details() or "").startswith(problem), caught.value.details()
    fetched = await admin.GetCustomer(pb.GetCustomerRequest(id="acme"))
    assert fetched.customer == acme
    assert server.notices.customers == ["acme"]


@pytest.mark.parametrize(
    ("method", "request_", "code", "detail"),
    [
        ("GetCustomer", pb.GetCustomerRequest(id="no"), "NOT_FOUND", "customer 'no'"),
        ("GetCatalog", pb.GetCatalogRequest(catalog="no"), "NOT_FOUND", "catalog 'no'"),
        ("CreateCustomer", pb.CreateCustomerRequest(id="acme"), "ALREADY_EXISTS", "'acme'"),
        (
            "ApplyCatalog",
            pb.ApplyCatalogRequest(document=CATALOG, expected_version=7),
            "ABORTED",
            "is at version 1 now, not 7",
        ),
        (
            "ApplyCatalog",
            pb.ApplyCatalogRequest(
                document=CATALOG.replace("  pro:", "  plus:").replace("pro]", "plus]")
            ),
            "FAILED_PRECONDITION",
            "plan 'pro' cannot go: customers are on it, for instance 'acme'",
        ),
    ],
)
async def test_statuses(
    admin: AdminServiceAsyncStub,
    acme: pb.Customer,
    method: str,
    request_: Any,
    code: str,
    detail: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(admin, method)(request_)
    assert caught.value.code().name == code
    assert detail in (caught.value.details() or "")


async def test_an_unexpected_error_tells_no_internals(
    server: AdminServer, admin: AdminServiceAsyncStub, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> int:
        raise RuntimeError("the inside of it")

    server.clock = broken
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.ApplyCatalog(pb.ApplyCatalogRequest(document=CATALOG))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error; see the control plane's log"
    assert "RuntimeError: the inside of it" in "".join(capsys.readouterr())


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_database_that_is_locked_is_unavailable(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    # Among the server's own transactions, which may run at this moment.
    await server.database.write(
        lambda connection: connection.exec_driver_sql("ALTER TABLE customer RENAME TO gone")
    )

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.GetCustomer(pb.GetCustomerRequest(id="acme"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the database cannot be used now" in (caught.value.details() or "")


async def test_a_caller_who_leaves_still_gets_its_change_told(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    calls = [
        asyncio.ensure_future(
            admin.CreateCustomer(pb.CreateCustomerRequest(id=f"c{number}"), timeout=0.02)
        )
        for number in range(200)
    ]
    await asyncio.gather(*calls, return_exceptions=True)

    async with asyncio.timeout(20):
        while True:
            listed = await admin.ListCustomers(pb.ListCustomersRequest(page_size=1000))
            made = [customer.id for customer in listed.customers]
            if sorted(made) == sorted(server.notices.customers):
                break
            await asyncio.sleep(0.01)


async def test_calls_are_counted(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError):
            await admin.GetCustomer(pb.GetCustomerRequest(id="no"))

    def count(method: str, code: str) -> float | None:
        name = "weighbridge_control_plane_admin_calls_total"
        return server.registry.get_sample_value(name, {"method": method, "code": code})

    assert count("GetCustomer", "NOT_FOUND") == 2
    assert count("CreateCustomer", "OK") == 1


def test_database_times_are_observed() -> None:
    seen: list[tuple[str, bool]] = []
    database = Database("sqlite://", lambda purpose, took_s: seen.append((purpose, took_s >= 0)))

    async def run() -> None:
        await database.read(current_revision)
        await database.write(current_revision)

    database.migrate()
    asyncio.run(run())
    database.close()
    assert seen == [("read", True), ("write", True)]
