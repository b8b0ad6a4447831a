"""A real gRPC server with the administration service, on a free port of loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from prometheus_client import CollectorRegistry
from provisioned import NOW_MS

from control_plane.api.admin_service import AdminService
from control_plane.api.metrics import ControlPlaneMetrics
from control_plane.api.server import ApiServer
from control_plane.provisioning import CatalogLibrary
from control_plane.provisioning.access import Role, register_token
from control_plane.settings import Address
from control_plane.publishing.sessions import SessionRegistry
from control_plane.storage.database import Database
from weighbridge.runtime.tokens import new_token
from weighbridge.v1 import admin_service_pb2_grpc


class RecordedNotices:
    """Keeps what was told."""

    def __init__(self) -> None:
        self.customers: list[str] = []
        self.catalogs: list[str] = []

    def publish(self, customers: Iterable[str] = (), catalogs: Iterable[str] = ()) -> None:
        self.customers += customers
        self.catalogs += catalogs


class AdminServer:
    """The server, and what is behind it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.notices = RecordedNotices()
        self.registry = CollectorRegistry()
        self.admin_token = new_token()
        self.sync_token = new_token()
        self.address = ""
        self.clock: Callable[[], int] = lambda: NOW_MS
        with database.writing() as connection:
            register_token(connection, Role.ADMIN, "file", self.admin_token, NOW_MS)
            register_token(connection, Role.SYNC, "file", self.sync_token, NOW_MS)

    def now_ms(self) -> int:
        return self.clock()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[AdminServer]:
        """Serve until the context ends."""
        metrics = ControlPlaneMetrics(self.registry)
        admin = AdminService(
            self.database, CatalogLibrary(), self.notices, SessionRegistry(), self.now_ms
        )
        server = ApiServer(Address("127.0.0.1", 0), self.database, metrics.observe_call, admin)
        await server.start()
        self.address = server.address
        try:
            yield self
        finally:
            await server.stop(0)

    @asynccontextmanager
    async def stub(
        self, token: str | None = None
    ) -> AsyncIterator[admin_service_pb2_grpc.AdminServiceAsyncStub]:
        """Connect with a token, else that of administration; "" sends none."""
        value = self.admin_token if token is None else token
        interceptors = [_Bearer(value)] if value else []
        async with grpc.aio.insecure_channel(self.address, interceptors=interceptors) as channel:
            yield admin_service_pb2_grpc.AdminServiceStub(channel)


class _Bearer(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
        metadata.add("authorization", f"Bearer {self._token}")
        return await continuation(client_call_details._replace(metadata=metadata), request)
