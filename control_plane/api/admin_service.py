"""The administration service: each call a transaction, and a notice of what it changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy import Connection

from control_plane import provisioning
from control_plane.api.wrapping import Context
from control_plane.metering.explaining import Question, explain_entitlement
from control_plane.metering.queries import query_usage
from control_plane.provisioning import CatalogLibrary, CatalogSource
from control_plane.provisioning.applying import AppliedCatalog, CountedChanges
from control_plane.provisioning.checks import require_instant
from control_plane.provisioning.loading import CustomerRecord
from control_plane.publishing.notices import ChangeNotices
from control_plane.publishing.sessions import SessionRegistry
from control_plane.storage.database import Database
from control_plane.wire import administration as wire
from control_plane.wire.drafts import draft_to_proto
from control_plane.wire.enums import CUSTOMER_STATUSES, SUBSCRIPTION_STATUSES, enum_from_proto
from control_plane.wire.explaining import explained_to_proto
from control_plane.wire.publishing import session_to_proto
from weighbridge.rules.errors import UnavailableError
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import admin_service_pb2_grpc
from weighbridge.v1.sync_service_pb2 import SUBSCRIPTION_MODE_ALL

T = TypeVar("T")


class AdminService(admin_service_pb2_grpc.AdminServiceServicer):
    """Changes and queries. Errors pass through: `control_plane.api.errors` answers them."""

    def __init__(
        self,
        database: Database,
        library: CatalogLibrary,
        notices: ChangeNotices,
        registry: SessionRegistry,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._library = library
        self._notices = notices
        self._registry = registry
        self._now_ms = now_ms
        self._committing: set[asyncio.Future[Any]] = set()

    async def DiffCatalog(
        self, request: pb.DiffCatalogRequest, context: Context
    ) -> pb.DiffCatalogResponse:
        source = CatalogSource(request.document, request.source_name)
        migrations = wire.migrations_from_proto(request.migration, request.plan_migrations)
        diff = await self._database.read(
            lambda connection: provisioning.diff_catalog(
                connection, self._library, source, self._now_ms(), migrations
            )
        )
        return wire.diff_to_proto(diff)

    async def ApplyCatalog(
        self, request: pb.ApplyCatalogRequest, context: Context
    ) -> pb.ApplyCatalogResponse:
        source = CatalogSource(request.document, request.source_name)
        expected = request.expected_version if request.HasField("expected_version") else None

        migrations = wire.migrations_from_proto(request.migration, request.plan_migrations)
        applied = await self._change_catalog(
            lambda connection, now_ms: provisioning.apply_catalog(
                connection, self._library, source, expected, now_ms, migrations
            )
        )
        return wire.applied_to_proto(*applied)

    async def RollbackCatalog(
        self, request: pb.RollbackCatalogRequest, context: Context
    ) -> pb.RollbackCatalogResponse:
        rollback = wire.rollback_from_proto(request)
        applied = await self._change_catalog(
            lambda connection, now_ms: provisioning.rollback_catalog(
                connection, self._library, rollback, now_ms
            )
        )
        return wire.rolled_back_to_proto(*applied)

    async def ListCatalogVersions(
        self, request: pb.ListCatalogVersionsRequest, context: Context
    ) -> pb.ListCatalogVersionsResponse:
        changes_by = self._library if request.with_changes else None
        page = await self._database.read(
            lambda connection: provisioning.list_catalog_versions(
                connection, request.catalog, request.page_size, request.page_token, changes_by
            )
        )
        return wire.version_page_to_proto(page)

    async def PutDraft(self, request: pb.PutDraftRequest, context: Context) -> pb.PutDraftResponse:
        source = CatalogSource(request.document, request.source_name)
        put = await self._change_draft(
            lambda connection: provisioning.put_draft(
                connection, self._library, source, self._now_ms()
            ),
            lambda put: put.draft.catalog,
        )
        return pb.PutDraftResponse(
            draft=draft_to_proto(put.draft), diff=wire.diff_to_proto(put.diff)
        )

    async def GetDraft(self, request: pb.GetDraftRequest, context: Context) -> pb.GetDraftResponse:
        draft, diff = await self._database.read(
            lambda connection: provisioning.get_draft(
                connection, self._library, request.catalog, self._now_ms()
            )
        )
        return pb.GetDraftResponse(draft=draft_to_proto(draft), diff=wire.diff_to_proto(diff))

    async def RemoveDraft(
        self, request: pb.RemoveDraftRequest, context: Context
    ) -> pb.RemoveDraftResponse:
        removed = await self._change_draft(
            lambda connection: provisioning.remove_draft(connection, request.catalog),
            lambda removed: removed.catalog,
        )
        return pb.RemoveDraftResponse(draft=draft_to_proto(removed))

    async def GetCatalog(
        self, request: pb.GetCatalogRequest, context: Context
    ) -> pb.GetCatalogResponse:
        version = request.version if request.HasField("version") else None
        stored = await self._database.read(
            lambda connection: provisioning.get_catalog(
                connection, self._library, request.catalog, version
            )
        )
        return wire.stored_catalog_to_proto(stored)

    async def ListCatalogs(
        self, request: pb.ListCatalogsRequest, context: Context
    ) -> pb.ListCatalogsResponse:
        summaries = await self._database.read(
            lambda connection: provisioning.list_catalogs(connection, self._library)
        )
        return pb.ListCatalogsResponse(
            catalogs=[wire.summary_to_proto(summary) for summary in summaries]
        )

    async def CreateCustomer(
        self, request: pb.CreateCustomerRequest, context: Context
    ) -> pb.CreateCustomerResponse:
        new = wire.new_customer_from_proto(request)
        customer = await self._change(
            lambda connection, now_ms: provisioning.create_customer(
                connection, self._library, new, now_ms
            )
        )
        return pb.CreateCustomerResponse(customer=customer)

    async def GetCustomer(
        self, request: pb.GetCustomerRequest, context: Context
    ) -> pb.GetCustomerResponse:
        record = await self._database.read(
            lambda connection: provisioning.get_customer(connection, request.id)
        )
        return pb.GetCustomerResponse(customer=wire.customer_record_to_proto(record))

    async def ListCustomers(
        self, request: pb.ListCustomersRequest, context: Context
    ) -> pb.ListCustomersResponse:
        page = await self._database.read(
            lambda connection: provisioning.list_customers(
                connection, request.page_size, request.page_token, request.catalog, request.parent
            )
        )
        return pb.ListCustomersResponse(
            customers=[wire.customer_record_to_proto(record) for record in page.records],
            next_page_token=page.next_page_token,
        )

    async def SetCustomerStatus(
        self, request: pb.SetCustomerStatusRequest, context: Context
    ) -> pb.SetCustomerStatusResponse:
        status = enum_from_proto("status", CUSTOMER_STATUSES, request.status)
        customer = await self._change(
            lambda connection, now_ms: provisioning.set_customer_status(
                connection, request.id, status, now_ms
            )
        )
        return pb.SetCustomerStatusResponse(customer=customer)

    async def CreateResource(
        self, request: pb.CreateResourceRequest, context: Context
    ) -> pb.CreateResourceResponse:
        customer = await self._change(
            lambda connection, now_ms: provisioning.create_resource(
                connection, request.customer, request.resource, now_ms
            )
        )
        return pb.CreateResourceResponse(customer=customer)

    async def SetSubscription(
        self, request: pb.SetSubscriptionRequest, context: Context
    ) -> pb.SetSubscriptionResponse:
        wanted = wire.wanted_subscription_from_proto(request)
        customer = await self._change(
            lambda connection, now_ms: provisioning.set_subscription(
                connection, self._library, wanted, now_ms
            )
        )
        return pb.SetSubscriptionResponse(customer=customer)

    async def PinSubscription(
        self, request: pb.PinSubscriptionRequest, context: Context
    ) -> pb.PinSubscriptionResponse:
        plan_version = request.plan_version if request.HasField("plan_version") else None
        owner = (request.customer, request.resource)
        customer = await self._change(
            lambda connection, now_ms: provisioning.pin_subscription(
                connection, self._library, owner, plan_version, now_ms
            )
        )
        return pb.PinSubscriptionResponse(customer=customer)

    async def FollowSubscription(
        self, request: pb.FollowSubscriptionRequest, context: Context
    ) -> pb.FollowSubscriptionResponse:
        owner = (request.customer, request.resource)
        customer = await self._change(
            lambda connection, now_ms: provisioning.follow_plan(
                connection, self._library, owner, now_ms
            )
        )
        return pb.FollowSubscriptionResponse(customer=customer)

    async def CancelSubscription(
        self, request: pb.CancelSubscriptionRequest, context: Context
    ) -> pb.CancelSubscriptionResponse:
        when = wire.change_time_from_proto(request.when)
        customer = await self._change(
            lambda connection, now_ms: provisioning.cancel_subscription(
                connection, request.customer, request.resource, now_ms, when
            )
        )
        return pb.CancelSubscriptionResponse(customer=customer)

    async def SetSubscriptionStatus(
        self, request: pb.SetSubscriptionStatusRequest, context: Context
    ) -> pb.SetSubscriptionStatusResponse:
        owned = (request.customer, request.resource)
        status = enum_from_proto("status", SUBSCRIPTION_STATUSES, request.status)
        until_ms = request.until_unix_ms if request.HasField("until_unix_ms") else None
        customer = await self._change(
            lambda connection, now_ms: provisioning.set_subscription_status(
                connection, owned, status, until_ms, now_ms
            )
        )
        return pb.SetSubscriptionStatusResponse(customer=customer)

    async def SetOverride(
        self, request: pb.SetOverrideRequest, context: Context
    ) -> pb.SetOverrideResponse:
        wanted = wire.wanted_override_from_proto(request)
        customer = await self._change(
            lambda connection, now_ms: provisioning.set_override(
                connection, self._library, wanted, now_ms
            )
        )
        return pb.SetOverrideResponse(customer=customer)

    async def RemoveOverride(
        self, request: pb.RemoveOverrideRequest, context: Context
    ) -> pb.RemoveOverrideResponse:
        customer = await self._change(
            lambda connection, now_ms: provisioning.remove_override(
                connection, request.customer, request.resource, request.feature, now_ms
            )
        )
        return pb.RemoveOverrideResponse(customer=customer)

    async def QueryUsage(
        self, request: pb.QueryUsageRequest, context: Context
    ) -> pb.QueryUsageResponse:
        query = wire.usage_query_from_proto(request)
        rows = await self._database.read(lambda connection: query_usage(connection, query))
        return pb.QueryUsageResponse(rows=[wire.usage_row_to_proto(row) for row in rows])

    async def ExplainEntitlement(
        self, request: pb.ExplainEntitlementRequest, context: Context
    ) -> pb.ExplainEntitlementResponse:
        at_ms = self._now_ms()
        if request.HasField("at_unix_ms"):
            at_ms = require_instant("at_unix_ms", request.at_unix_ms)
        question = Question(request.customer, request.resource, request.feature, at_ms)
        explained = await self._database.read(
            lambda connection: explain_entitlement(connection, self._library, question)
        )
        return explained_to_proto(explained)

    async def ListSidecars(
        self, request: pb.ListSidecarsRequest, context: Context
    ) -> pb.ListSidecarsResponse:
        customers = await self._database.read(provisioning.count_customers)
        sidecars = [session_to_proto(session) for session in self._registry.all()]
        for sidecar in sidecars:
            if sidecar.mode == SUBSCRIPTION_MODE_ALL:
                sidecar.customers = customers
        return pb.ListSidecarsResponse(sidecars=sidecars)

    async def _change(self, change: Callable[[Connection, int], CustomerRecord]) -> pb.Customer:
        """Change one customer in a transaction, and tell so after it is committed."""

        async def commit() -> CustomerRecord:
            record = await self._database.write(
                lambda connection: change(connection, self._now_ms())
            )
            self._notices.publish(customers=[record.customer.id])
            return record

        return wire.customer_record_to_proto(await self._through(commit()))

    async def _change_catalog(
        self, change: Callable[[Connection, int], AppliedCatalog]
    ) -> tuple[AppliedCatalog, CountedChanges]:
        """Change a catalog in a transaction, tell so, and only then count whom it affects."""

        async def commit() -> AppliedCatalog:
            applied = await self._database.write(
                lambda connection: change(connection, self._now_ms())
            )
            if applied.changes:
                self._notices.publish(catalogs=[applied.catalog])
            return applied

        applied = await self._through(commit())
        try:
            counted = await self._database.read(
                lambda connection: provisioning.count_affected(connection, applied, self._now_ms())
            )
        except UnavailableError as error:
            raise UnavailableError(
                f"version {applied.version} of catalog {applied.catalog!r} is applied, but whom it "
                f"affects could not be counted: {error}"
            ) from error
        return applied, counted

    async def _change_draft(
        self, change: Callable[[Connection], T], catalog_of: Callable[[T], str]
    ) -> T:
        """Change the draft of a catalog in a transaction, and tell so after it is committed."""

        async def commit() -> T:
            changed = await self._database.write(change)
            self._notices.publish(catalogs=[catalog_of(changed)])
            return changed

        return await self._through(commit())

    async def _through(self, committing: Coroutine[Any, Any, T]) -> T:
        """Go through with a commit and its notice, even when the caller leaves meanwhile."""
        task = asyncio.ensure_future(committing)
        self._committing.add(task)
        task.add_done_callback(self._committing.discard)
        return await asyncio.shield(task)
