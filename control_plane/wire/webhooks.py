"""Webhook endpoints and deliveries ⇄ protobuf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from control_plane.notifying.deliveries import DeliveryState
from control_plane.notifying.endpoints import Endpoint, ListedEndpoint
from control_plane.notifying.event_types import EventType
from control_plane.notifying.queries import Delivery, DeliveryQuery
from control_plane.wire.enums import enum_from_proto
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.v1 import webhook_service_pb2 as pb

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000

STATES: Final[Mapping[DeliveryState, pb.WebhookDeliveryState.ValueType]] = {
    DeliveryState.PENDING: pb.WEBHOOK_DELIVERY_STATE_PENDING,
    DeliveryState.DELIVERED: pb.WEBHOOK_DELIVERY_STATE_DELIVERED,
    DeliveryState.DEAD: pb.WEBHOOK_DELIVERY_STATE_DEAD,
}


def new_endpoint_from_proto(request: pb.CreateWebhookEndpointRequest) -> Endpoint:
    return Endpoint(request.id, request.url, tuple(request.event_types))


def changed_endpoint(request: pb.UpdateWebhookEndpointRequest, before: Endpoint) -> Endpoint:
    """Return the endpoint with what the request sets."""
    after = before
    if request.HasField("url"):
        after = replace(after, url=request.url)
    if request.set_event_types:
        after = replace(after, event_types=tuple(request.event_types))
    if request.HasField("paused"):
        after = replace(after, is_paused=request.paused)
    return after


def endpoint_to_proto(endpoint: Endpoint, pending: int = 0, dead: int = 0) -> pb.WebhookEndpoint:
    return pb.WebhookEndpoint(
        id=endpoint.id,
        url=endpoint.url,
        event_types=endpoint.event_types,
        paused=endpoint.is_paused,
        created_at_unix_ms=endpoint.created_at_ms,
        deliveries_pending=pending,
        deliveries_dead=dead,
    )


def endpoints_to_proto(listed: Sequence[ListedEndpoint]) -> pb.ListWebhookEndpointsResponse:
    return pb.ListWebhookEndpointsResponse(
        endpoints=[endpoint_to_proto(each.endpoint, each.pending, each.dead) for each in listed],
        event_types=[each.value for each in EventType],
    )


def delivery_query_from_proto(request: pb.ListWebhookDeliveriesRequest) -> DeliveryQuery:
    """Return which deliveries are wanted, one more than a page. Raises InvalidArgumentError."""
    if not 0 <= request.page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{request.page_size} is not 0 to {PAGE_SIZE_MAX}")
    state = None
    if request.state:
        state = enum_from_proto("state", STATES, request.state)
    return DeliveryQuery(
        endpoint=request.endpoint,
        state=state,
        event_type=request.event_type,
        customer=request.customer,
        page_size=(request.page_size or PAGE_SIZE_DEFAULT) + 1,
        after=_after(request.page_token) if request.page_token else None,
    )


def deliveries_to_proto(
    found: Sequence[Delivery], page_size: int
) -> pb.ListWebhookDeliveriesResponse:
    """Return a page; `found` has one more where there is a next one."""
    page = found[:page_size]
    token = ""
    if len(found) > page_size:
        last = page[-1]
        token = f"{last.created_at_ms}.{last.message}.{last.endpoint}"
    return pb.ListWebhookDeliveriesResponse(
        deliveries=[_delivery_to_proto(each) for each in page], next_page_token=token
    )


def _after(token: str) -> tuple[int, str, str]:
    at_ms, _, rest = token.partition(".")
    message, _, endpoint = rest.partition(".")
    if not (at_ms.isdecimal() and message and endpoint):
        raise InvalidArgumentError("page_token", "is not one that a page came with")
    return int(at_ms), endpoint, message


def _delivery_to_proto(delivery: Delivery) -> pb.WebhookDelivery:
    return pb.WebhookDelivery(
        endpoint=delivery.endpoint,
        message=delivery.message,
        event_type=delivery.event_type,
        customer=delivery.customer,
        state=STATES[delivery.state],
        attempts=delivery.attempts,
        status_code=delivery.status_code,
        error=delivery.error,
        created_at_unix_ms=delivery.created_at_ms,
        next_at_unix_ms=delivery.next_at_ms,
        ended_at_unix_ms=delivery.ended_at_ms,
        body=delivery.body,
    )
