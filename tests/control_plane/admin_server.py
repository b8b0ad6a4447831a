"""A real gRPC server with the administration service, on a free port of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
from prometheus_client import CollectorRegistry
from provisioned import NOW_MS

from control_plane.api.admin_service import AdminService
from control_plane.api.billing_service import BillingService
from control_plane.api.credit_service import CreditService
from control_plane.api.integration_service import IntegrationService
from control_plane.api.metrics import ControlPlaneMetrics
from control_plane.api.server import ApiServer, Services
from control_plane.api.sync_service import Intake, StreamTimes, SyncService
from control_plane.api.usage_service import UsageService
from control_plane.api.webhook_service import WebhookService
from control_plane.exporters.config import ExportsConfig
from control_plane.exporters.exporting import Exporting
from control_plane.granting.desk import LeaseDesk
from control_plane.granting.granter import Granter
from control_plane.granting.rate_desk import RateDesk
from control_plane.granting.rate_serving import RateService
from control_plane.granting.serving import LeaseService
from control_plane.importers.config import ImportsConfig
from control_plane.importers.importing import Importing
from control_plane.leasing.holding import LeaseTerms
from control_plane.metering.queue import IngestQueue
from control_plane.metering.reporting import Reporter
from control_plane.provisioning import CatalogLibrary
from control_plane.provisioning.access import Role, register_token
from control_plane.publishing.notices import ChangeNotice, ChangeNotices
from control_plane.publishing.publisher import Publisher
from control_plane.publishing.sessions import SessionRegistry
from control_plane.settings import Address
from control_plane.storage.database import Database
from weighbridge.runtime.tokens import new_token
from weighbridge.v1 import (
    admin_service_pb2_grpc,
    credit_service_pb2_grpc,
    webhook_service_pb2_grpc,
)

HEARTBEAT_INTERVAL_MS = 1_000


class RecordedNotices:
    """Keeps what was told."""

    def __init__(self, notices: ChangeNotices) -> None:
        self.customers: list[str] = []
        self.catalogs: list[str] = []
        notices.listen(self._note)

    def _note(self, notice: ChangeNotice) -> None:
        self.customers += notice.customers
        self.catalogs += notice.catalogs


class AdminServer:
    """The server, and what is behind it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._notices = ChangeNotices()
        self.notices = RecordedNotices(self._notices)
        self.registry = CollectorRegistry()
        self.admin_token = new_token()
        self.sync_token = new_token()
        self.address = ""
        self.clock: Callable[[], int] = lambda: NOW_MS
        with database.writing() as connection:
            register_token(connection, Role.ADMIN, "file", self.admin_token, NOW_MS)
            register_token(connection, Role.SYNC, "file", self.sync_token, NOW_MS)

    def _exporting(self) -> Exporting:
        return Exporting(ExportsConfig(), self.database, "test", self.now_ms)

    def _importing(self) -> Importing:
        return Importing(ImportsConfig(), self.database, CatalogLibrary(), self.now_ms)

    def now_ms(self) -> int:
        return self.clock()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[AdminServer]:
        """Serve until the context ends."""
        database, library, clock = self.database, CatalogLibrary(), self.now_ms
        metrics = ControlPlaneMetrics(self.registry)
        sidecars = SessionRegistry()
        publisher = Publisher(database, library, self._notices, sidecars, clock)
        queue = IngestQueue(database, library, clock, Random(1))
        granter = Granter(Random(2), LeaseTerms(60_000, 600_000))
        leases = LeaseService(LeaseDesk(250), granter, queue, clock)
        server = ApiServer(
            Address("127.0.0.1", 0),
            database,
            metrics.observe_call,
            Services(
                AdminService(database, library, self._notices, sidecars, clock),
                CreditService(database, library, clock),
                BillingService(database, library, clock),
                IntegrationService(database, self._exporting(), self._importing(), clock),
                UsageService(database, Reporter(queue, lambda: "epoch")),
                SyncService(
                    database,
                    library,
                    publisher,
                    Intake(queue, leases, RateService(RateDesk(60_000), clock)),
                    clock,
                    StreamTimes(HEARTBEAT_INTERVAL_MS, 60_000),
                ),
                WebhookService(database, clock),
            ),
        )
        await publisher.start()
        tasks = [asyncio.create_task(publisher.run()), asyncio.create_task(queue.run())]
        await server.start()
        self.address = server.address
        try:
            yield self
        finally:
            await server.stop(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def stub(
        self, token: str | None = None
    ) -> AsyncIterator[admin_service_pb2_grpc.AdminServiceAsyncStub]:
        """Connect to administration with a token, else its own; "" sends none."""
        async with self._connected(token) as channel:
            yield admin_service_pb2_grpc.AdminServiceStub(channel)

    @asynccontextmanager
    async def credit_stub(self) -> AsyncIterator[credit_service_pb2_grpc.CreditServiceAsyncStub]:
        """Connect to the credit service with the token of administration."""
        async with self._connected(None) as channel:
            yield credit_service_pb2_grpc.CreditServiceStub(channel)

    @asynccontextmanager
    async def webhook_stub(
        self,
    ) -> AsyncIterator[webhook_service_pb2_grpc.WebhookServiceAsyncStub]:
        """Connect to the webhook service with the token of administration."""
        async with self._connected(None) as channel:
            yield webhook_service_pb2_grpc.WebhookServiceStub(channel)

    @asynccontextmanager
    async def _connected(self, token: str | None) -> AsyncIterator[grpc.aio.Channel]:
        value = self.admin_token if token is None else token
        interceptors = [_Bearer(value)] if value else []
        async with grpc.aio.insecure_channel(self.address, interceptors=interceptors) as channel:
            yield channel


class _Bearer(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
        metadata.add("authorization", f"Bearer {self._token}")
        return await continuation(client_call_details._replace(metadata=metadata), request)
