"""The webhook service: endpoints, deliveries, replays."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from control_plane.api.wrapping import Context
from control_plane.notifying import deliveries, endpoints, queries
from control_plane.notifying.signing import new_secret
from control_plane.storage.database import Database
from control_plane.wire import webhooks as wire
from weighbridge.v1 import webhook_service_pb2 as pb
from weighbridge.v1 import webhook_service_pb2_grpc


class WebhookService(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Changes and queries. Errors pass through: `control_plane.api.errors` answers them."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def CreateWebhookEndpoint(
        self, request: pb.CreateWebhookEndpointRequest, context: Context
    ) -> pb.CreateWebhookEndpointResponse:
        new, secret = wire.new_endpoint_from_proto(request), new_secret()
        made = await self._database.write(
            lambda c: endpoints.create_endpoint(c, new, secret, self._now_ms())
        )
        return pb.CreateWebhookEndpointResponse(
            endpoint=wire.endpoint_to_proto(made), secret=secret
        )

    async def UpdateWebhookEndpoint(
        self, request: pb.UpdateWebhookEndpointRequest, context: Context
    ) -> pb.UpdateWebhookEndpointResponse:
        def work(connection: Connection) -> endpoints.Endpoint:
            before = endpoints.require_endpoint(connection, request.id)
            return endpoints.update_endpoint(connection, wire.changed_endpoint(request, before))

        changed = await self._database.write(work)
        return pb.UpdateWebhookEndpointResponse(endpoint=wire.endpoint_to_proto(changed))

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        secret = new_secret()
        await self._database.write(
            lambda c: endpoints.rotate_secret(c, request.id, secret, self._now_ms())
        )
        return pb.RotateWebhookSecretResponse(secret=secret)

    async def DeleteWebhookEndpoint(
        self, request: pb.DeleteWebhookEndpointRequest, context: Context
    ) -> pb.DeleteWebhookEndpointResponse:
        await self._database.write(lambda c: endpoints.delete_endpoint(c, request.id))
        return pb.DeleteWebhookEndpointResponse()

    async def ListWebhookEndpoints(
        self, request: pb.ListWebhookEndpointsRequest, context: Context
    ) -> pb.ListWebhookEndpointsResponse:
        return wire.endpoints_to_proto(await self._database.read(endpoints.list_endpoints))

    async def TestWebhookEndpoint(
        self, request: pb.TestWebhookEndpointRequest, context: Context
    ) -> pb.TestWebhookEndpointResponse:
        message = await self._database.write(
            lambda c: endpoints.send_test(c, request.id, self._now_ms())
        )
        return pb.TestWebhookEndpointResponse(message=message)

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        query = wire.delivery_query_from_proto(request)

        def work(connection: Connection) -> list[queries.Delivery]:
            if query.endpoint:
                endpoints.require_endpoint(connection, query.endpoint)
            return queries.list_deliveries(connection, query)

        found = await self._database.read(work)
        return wire.deliveries_to_proto(found, query.page_size - 1)

    async def ReplayWebhookDeliveries(
        self, request: pb.ReplayWebhookDeliveriesRequest, context: Context
    ) -> pb.ReplayWebhookDeliveriesResponse:
        def work(connection: Connection) -> int:
            endpoints.require_endpoint(connection, request.endpoint)
            return deliveries.replay(connection, request.endpoint, request.message, self._now_ms())

        return pb.ReplayWebhookDeliveriesResponse(count=await self._database.write(work))
