"""Administration of plan versions and of the life of subscriptions, over a real connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin_server import AdminServer
from provisioned import CATALOG, NOW_MS

from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import types_pb2

if TYPE_CHECKING:
    # Only the type stubs tell the two kinds of stub apart.
    from weighbridge.v1.admin_service_pb2_grpc import AdminServiceAsyncStub


async def test_plan_versions(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    raised = CATALOG.replace("limit: 1000", "limit: 2000")
    request = pb.ApplyCatalogRequest(
        document=raised, plan_migrations={"pro": types_pb2.MIGRATION_AT_PERIOD_END}
    )
    assert (await admin.ApplyCatalog(request)).customers_affected == 1
    pinned = await admin.PinSubscription(pb.PinSubscriptionRequest(customer="acme", plan_version=1))
    assert pinned.customer.subscriptions[0].plan_version == 1
    followed = await admin.FollowSubscription(pb.FollowSubscriptionRequest(customer="acme"))
    assert not followed.customer.subscriptions[0].HasField("plan_version")
    rolled = await admin.RollbackCatalog(pb.RollbackCatalogRequest(catalog="api", version=1))
    assert rolled.version == 3
    page = await admin.ListCatalogVersions(
        pb.ListCatalogVersionsRequest(catalog="api", page_size=2)
    )
    assert [version.restores for version in page.versions] == [1, 0]
    [step] = page.versions[1].made
    assert (step.plan, step.migration) == ("pro", types_pb2.MIGRATION_AT_PERIOD_END)
    assert page.next_page_token == "1"
    assert server.notices.catalogs == ["api"] * 3


async def test_later_changes_and_statuses(admin: AdminServiceAsyncStub, acme: pb.Customer) -> None:
    scheduled = await admin.SetSubscription(
        pb.SetSubscriptionRequest(customer="acme", plan="free", when=pb.CHANGE_TIME_PERIOD_END)
    )
    now, then = scheduled.customer.subscriptions
    assert now.ends_at_unix_ms == then.starts_at_unix_ms > NOW_MS
    canceled = await admin.CancelSubscription(
        pb.CancelSubscriptionRequest(customer="acme", when=pb.CHANGE_TIME_PERIOD_END)
    )
    assert len(canceled.customer.subscriptions) == 1
    paused = await admin.SetSubscriptionStatus(
        pb.SetSubscriptionStatusRequest(
            customer="acme", status=types_pb2.SUBSCRIPTION_STATUS_PAUSED, until_unix_ms=NOW_MS + 1
        )
    )
    [subscription] = paused.customer.subscriptions
    assert subscription.status == types_pb2.SUBSCRIPTION_STATUS_PAUSED
    assert subscription.status_until_unix_ms == NOW_MS + 1
