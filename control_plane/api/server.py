"""The gRPC server: services, interceptors, health, reflection, and its address."""

from __future__ import annotations

import socket
from typing import Any, Final, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control_plane.api.admin_service import AdminService
from control_plane.api.authentication import (
    ADMIN_SERVICE,
    BILLING_SERVICE,
    CREDIT_SERVICE,
    INTEGRATION_SERVICE,
    SYNC_SERVICE,
    USAGE_SERVICE,
    WEBHOOK_SERVICE,
    AuthenticationInterceptor,
)
from control_plane.api.billing_service import BillingService
from control_plane.api.credit_service import CreditService
from control_plane.api.errors import CallObserver, ErrorInterceptor
from control_plane.api.integration_service import IntegrationService
from control_plane.api.sync_service import SyncService
from control_plane.api.usage_service import UsageService
from control_plane.api.webhook_service import WebhookService
from control_plane.settings import Address
from control_plane.storage.database import Database
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.runtime.probes import listening_error
from weighbridge.v1 import (
    admin_service_pb2_grpc,
    billing_service_pb2_grpc,
    credit_service_pb2_grpc,
    integration_service_pb2_grpc,
    sync_service_pb2_grpc,
    usage_service_pb2_grpc,
    webhook_service_pb2_grpc,
)

REQUEST_BYTES_MAX: Final = 16 << 20
RESPONSE_BYTES_MAX: Final = 64 << 20
CALLS_MAX: Final = 10_000
SERVICES: Final = (
    ADMIN_SERVICE,
    CREDIT_SERVICE,
    BILLING_SERVICE,
    INTEGRATION_SERVICE,
    USAGE_SERVICE,
    SYNC_SERVICE,
    WEBHOOK_SERVICE,
)

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", RESPONSE_BYTES_MAX),
    # With it two processes would share the port and each see half of the calls.
    ("grpc.so_reuseport", 0),
    # A sidecar whose machine is gone closes no connection; its stream must not stay for hours.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Services(NamedTuple):
    """What the server serves."""

    admin: AdminService
    credits: CreditService
    billing: BillingService
    integrations: IntegrationService
    usage: UsageService
    sync: SyncService
    webhooks: WebhookService

    def by_name(self) -> dict[str, Any]:
        """Return those for administrators by their names in the contract."""
        return {
            "AdminService": self.admin,
            "CreditService": self.credits,
            "BillingService": self.billing,
            "IntegrationService": self.integrations,
            "UsageService": self.usage,
        }


class ApiServer:
    """Listens from `start` to `stop`; both belong to one event loop."""

    def __init__(
        self,
        address: Address,
        database: Database,
        observe: CallObserver,
        services: Services,
    ) -> None:
        self._wanted = address
        self._port = address.port
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            # Outermost first: what refuses a call is answered like any other error.
            interceptors=[ErrorInterceptor(observe), AuthenticationInterceptor(database)],
            options=_OPTIONS,
            maximum_concurrent_rpcs=CALLS_MAX,
        )
        self._sync = services.sync
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(services.admin, self._server)
        credit_service_pb2_grpc.add_CreditServiceServicer_to_server(services.credits, self._server)
        billing_service_pb2_grpc.add_BillingServiceServicer_to_server(
            services.billing, self._server
        )
        integration_service_pb2_grpc.add_IntegrationServiceServicer_to_server(
            services.integrations, self._server
        )
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(services.usage, self._server)
        sync_service_pb2_grpc.add_SyncServiceServicer_to_server(services.sync, self._server)
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(
            services.webhooks, self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    @property
    def address(self) -> str:
        """Where it listens, the port known after `start`."""
        return f"{_bracketed(self._wanted.host)}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises FailedPreconditionError where the address cannot be had."""
        _require_free(self._wanted)
        try:
            self._port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise FailedPreconditionError(f"cannot listen on {self.address}") from error
        await self._server.start()
        for service in SERVICES:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Say so to who watches, end streams, take no new calls, and give open ones that long."""
        await self._health.enter_graceful_shutdown()
        self._sync.stop()
        await self._server.stop(grace_s)


def _require_free(address: Address) -> None:
    """Raise FailedPreconditionError where the port is taken: gRPC tells no reason."""
    if not address.port:
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server does: connections of the last run that linger are not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise listening_error(address.host, address.port, error) from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
