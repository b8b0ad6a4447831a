"""Webhook endpoints and top-up orders over a real connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from admin_server import AdminServer
from google.protobuf.message import Message
from provisioned import NOW_MS

from control_plane.notifying import EventType, tell
from control_plane.notifying import Message as Told
from control_plane.outgoing.sending import Outgoing
from control_plane.settings import Settings
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.v1 import credit_service_pb2 as credit_pb
from weighbridge.v1 import webhook_service_pb2 as pb

if TYPE_CHECKING:
    from weighbridge.v1.webhook_service_pb2_grpc import WebhookServiceAsyncStub

URL = "https://hooks.example.com/in"


@pytest.fixture
async def webhooks(server: AdminServer) -> AsyncIterator[WebhookServiceAsyncStub]:
    async with server.webhook_stub() as stub:
        yield stub


async def refused(stub_call: object, request: Message) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_call(request)  # type: ignore[operator]
    return caught.value.code(), caught.value.details() or ""


async def test_an_endpoint_from_its_beginning_to_its_end(
    webhooks: WebhookServiceAsyncStub,
) -> None:
    create = pb.CreateWebhookEndpointRequest(id="one", url=URL, event_types=["credits.granted"])
    made = await webhooks.CreateWebhookEndpoint(create)
    assert made.secret.startswith("whsec_")
    assert (await refused(webhooks.CreateWebhookEndpoint, create))[0] is (
        grpc.StatusCode.ALREADY_EXISTS
    )
    update = pb.UpdateWebhookEndpointRequest(id="one", set_event_types=True, paused=True)
    changed = (await webhooks.UpdateWebhookEndpoint(update)).endpoint
    assert (changed.url, list(changed.event_types), changed.paused) == (URL, [], True)
    rotated = await webhooks.RotateWebhookSecret(pb.RotateWebhookSecretRequest(id="one"))
    assert rotated.secret not in ("", made.secret)
    listed = await webhooks.ListWebhookEndpoints(pb.ListWebhookEndpointsRequest())
    assert [each.id for each in listed.endpoints] == ["one"]
    assert list(listed.event_types) == [each.value for each in EventType]
    assert made.secret not in str(listed)
    await webhooks.DeleteWebhookEndpoint(pb.DeleteWebhookEndpointRequest(id="one"))
    assert (await refused(webhooks.UpdateWebhookEndpoint, update))[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "a b"}, "id"),
        ({"url": "http://example.com"}, "url"),
        ({"event_types": ["no.such"]}, "event_types[0]"),
        ({"event_types": ["webhook.test", "webhook.test"]}, "event_types[1]"),
    ],
)
async def test_endpoints_that_are_refused(
    webhooks: WebhookServiceAsyncStub, changes: dict[str, object], field: str
) -> None:
    request = pb.CreateWebhookEndpointRequest(**{"id": "one", "url": URL, **changes})  # type: ignore[arg-type]
    code, told = await refused(webhooks.CreateWebhookEndpoint, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in told


async def test_deliveries_in_pages_and_a_replay(
    server: AdminServer, webhooks: WebhookServiceAsyncStub
) -> None:
    await webhooks.CreateWebhookEndpoint(pb.CreateWebhookEndpointRequest(id="one", url=URL))
    test = await webhooks.TestWebhookEndpoint(pb.TestWebhookEndpointRequest(id="one"))
    messages = [
        Told(EventType.CREDITS_GRANTED, "acme", NOW_MS, {"number": number}) for number in range(4)
    ]
    with server.database.writing() as connection:
        tell(connection, [*messages, messages[0]], NOW_MS + 1)
    found, token = [], ""
    while True:
        request = pb.ListWebhookDeliveriesRequest(endpoint="one", page_size=2, page_token=token)
        page = await webhooks.ListWebhookDeliveries(request)
        found += [each.message for each in page.deliveries]
        token = page.next_page_token
        if not token:
            break
    assert len(set(found)) == len(found) == 5
    assert found[-1] == test.message
    of_type = pb.ListWebhookDeliveriesRequest(
        event_type="credits.granted", customer="acme", state=pb.WEBHOOK_DELIVERY_STATE_PENDING
    )
    assert len((await webhooks.ListWebhookDeliveries(of_type)).deliveries) == 4
    nothing = pb.ReplayWebhookDeliveriesRequest(endpoint="one")
    assert (await webhooks.ReplayWebhookDeliveries(nothing)).count == 0
    missing = pb.ReplayWebhookDeliveriesRequest(endpoint="two")
    code, _ = await refused(webhooks.ReplayWebhookDeliveries, missing)
    assert code is grpc.StatusCode.NOT_FOUND
    for wrong in ({"page_size": 1_001}, {"page_token": "x"}, {"state": 9}):
        request = pb.ListWebhookDeliveriesRequest(**wrong)  # type: ignore[arg-type]
        code, told = await refused(webhooks.ListWebhookDeliveries, request)
        assert (code, next(iter(wrong)) in told) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_orders_that_are_not_there(server: AdminServer) -> None:
    async with server.credit_stub() as stub:
        for call, request in (
            (stub.ListTopUps, credit_pb.ListTopUpsRequest(customer="nobody")),
            (stub.ConfirmTopUp, credit_pb.ConfirmTopUpRequest(order="x", payment_id="p")),
            (stub.FailTopUp, credit_pb.FailTopUpRequest(order="x")),
        ):
            assert (await refused(call, request))[0] is grpc.StatusCode.NOT_FOUND


async def test_an_http_provider_needs_a_secret(server: AdminServer) -> None:
    settings = Settings(top_up_provider="http", top_up_url=URL)
    with pytest.raises(InvalidArgumentError, match="top_up_secret_file"):
        Outgoing(settings, server.database, server.now_ms, None)  # type: ignore[arg-type]
