"""Bearer tokens: one role for administration, one for sidecars; neither opens the other's door."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from control_plane.api.wrapping import Context, Continuation, Handler
from control_plane.provisioning.access import Role, require_token
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnauthenticatedError, UnavailableError, WeighbridgeError
from weighbridge.v1 import (
    admin_service_pb2,
    billing_service_pb2,
    credit_service_pb2,
    integration_service_pb2,
    sync_service_pb2,
    usage_service_pb2,
    webhook_service_pb2,
)

ADMIN_SERVICE: Final[str] = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
CREDIT_SERVICE: Final[str] = credit_service_pb2.DESCRIPTOR.services_by_name[
    "CreditService"
].full_name
WEBHOOK_SERVICE: Final[str] = webhook_service_pb2.DESCRIPTOR.services_by_name[
    "WebhookService"
].full_name
BILLING_SERVICE: Final[str] = billing_service_pb2.DESCRIPTOR.services_by_name[
    "BillingService"
].full_name
INTEGRATION_SERVICE: Final[str] = integration_service_pb2.DESCRIPTOR.services_by_name[
    "IntegrationService"
].full_name
USAGE_SERVICE: Final[str] = usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name
SYNC_SERVICE: Final[str] = sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"].full_name

ROLE_OF_SERVICE: Final[Mapping[str, Role]] = {
    ADMIN_SERVICE: Role.ADMIN,
    CREDIT_SERVICE: Role.ADMIN,
    WEBHOOK_SERVICE: Role.ADMIN,
    BILLING_SERVICE: Role.ADMIN,
    INTEGRATION_SERVICE: Role.ADMIN,
    USAGE_SERVICE: Role.ADMIN,
    SYNC_SERVICE: Role.SYNC,
}
# They tell whether the process serves, and what its interface is: nothing of a customer.
OPEN_SERVICES: Final = frozenset({health.SERVICE_NAME, reflection.SERVICE_NAME})

SCHEME: Final = "bearer"


class AuthenticationInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call pass with a valid token of the service's role.

    Asked of the database for each call, so a revoked token opens nothing from then on; a stream
    that is open stays open. Belongs inside ErrorInterceptor, which answers the refusal.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Put a refusal in the place of a method that the call may not reach."""
        handler = await continuation(handler_call_details)
        service = str(handler_call_details.method).strip("/").partition("/")[0]
        if handler is None or service in OPEN_SERVICES:
            return handler
        try:
            await self._authenticate(service, handler_call_details.invocation_metadata)
        except WeighbridgeError as error:
            return _refusing(handler, error)
        return handler

    async def _authenticate(
        self, service: str, metadata: Iterable[tuple[str, str | bytes]]
    ) -> None:
        role = ROLE_OF_SERVICE.get(service)
        if role is None:
            raise UnauthenticatedError(f"{service} is open to no role")
        token = bearer_token(metadata)
        try:
            await self._database.read(lambda connection: require_token(connection, role, token))
        except UnavailableError as error:
            # The error names the database's host and user, and who asks may be anybody.
            raise UnavailableError("the token cannot be checked now; try again") from error


def bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the token that a call carries. Raises UnauthenticatedError."""
    values = [value for key, value in metadata if key == "authorization"]
    if not values:
        raise UnauthenticatedError("no token; send the header `authorization: Bearer TOKEN`")
    value = values[0]
    scheme, _, token = value.partition(" ") if isinstance(value, str) else ("", "", "")
    if len(values) > 1 or scheme.lower() != SCHEME or not token.strip():
        raise UnauthenticatedError("the authorization header is not `Bearer TOKEN`")
    return token.strip()


def _refusing(handler: Handler, error: WeighbridgeError) -> Handler:
    """Return a handler of the same kind that reads nothing of what was sent."""

    async def refuse_call(_request: Any, _context: Context) -> Any:
        raise error

    async def refuse_stream(_requests: Any, _context: Context) -> AsyncIterator[Any]:
        raise error
        yield

    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse_stream)
    return grpc.unary_unary_rpc_method_handler(refuse_call)
