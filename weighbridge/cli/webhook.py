"""`weighbridge webhook`: who is told of what, what became of it, and sending it again."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import typer
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label, message_to_json
from weighbridge.cli.output import facts, listing_or, number, print_human, print_json
from weighbridge.v1 import webhook_service_pb2 as pb

app = typer.Typer(add_completion=False, help="Tell other systems what happens, by signed webhooks.")
endpoints_app = typer.Typer(add_completion=False, help="Make and change endpoints.")
app.add_typer(endpoints_app, name="endpoints")

EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's id")]
UrlHelp: Final = "https, or http to a loopback address"
TypesOption = Annotated[
    list[str],
    typer.Option("--type", metavar="TYPE", help="Only this type, and others given so; else all"),
]

_ENDPOINT_COLUMNS: Final = ("endpoint", "url", "types", "state", "waiting", "dead")
_DELIVERY_COLUMNS: Final = (
    "created",
    "endpoint",
    "message",
    "type",
    "customer",
    "state",
    "tries",
    "answer",
    "next try",
)


class State(Enum):
    """What became of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


_STATE_TO_PROTO: Final = {
    None: pb.WEBHOOK_DELIVERY_STATE_UNSPECIFIED,
    State.PENDING: pb.WEBHOOK_DELIVERY_STATE_PENDING,
    State.DELIVERED: pb.WEBHOOK_DELIVERY_STATE_DELIVERED,
    State.DEAD: pb.WEBHOOK_DELIVERY_STATE_DEAD,
}


@endpoints_app.command()
def create(
    endpoint: EndpointArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help=UrlHelp)],
    *,
    types: TypesOption = [],  # noqa: B006 (typer makes a new one for each command)
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Make an endpoint, and print its secret: now, and never again."""
    request = pb.CreateWebhookEndpointRequest(id=endpoint, url=url, event_types=types)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.webhooks.CreateWebhookEndpoint, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        made = response.endpoint
        rows = [("endpoint", made.id), ("url", made.url), ("types", _types_text(made))]
        print_human(facts([*rows, ("secret", response.secret)]))
        print_human(Text("keep the secret: it is not shown again"))


@endpoints_app.command(name="list")
def list_(
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List every endpoint."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.webhooks.ListWebhookEndpoints, pb.ListWebhookEndpointsRequest())
    if as_json:
        print_json(message_to_json(response))
        return
    rows = [
        (
            each.id,
            each.url,
            _types_text(each),
            "paused" if each.paused else "on",
            number(each.deliveries_pending),
            number(each.deliveries_dead),
        )
        for each in response.endpoints
    ]
    print_human(listing_or("no endpoints", _ENDPOINT_COLUMNS, rows))


@endpoints_app.command()
def update(
    endpoint: EndpointArgument,
    *,
    url: Annotated[str, typer.Option("--url", metavar="URL", help=UrlHelp)] = "",
    types: TypesOption = [],  # noqa: B006 (typer makes a new one for each command)
    all_types: Annotated[bool, typer.Option("--all-types", help="Of every type again")] = False,
    paused: Annotated[
        bool | None, typer.Option("--pause/--resume", help="Have what comes wait, or send it")
    ] = None,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Change an endpoint's url or types, pause it, or have it go on."""
    request = pb.UpdateWebhookEndpointRequest(
        id=endpoint,
        url=url or None,
        event_types=types,
        set_event_types=bool(types) or all_types,
        paused=paused,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.webhooks.UpdateWebhookEndpoint, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        now = response.endpoint
        state = "paused" if now.paused else "on"
        rows = [("endpoint", now.id), ("url", now.url), ("types", _types_text(now))]
        print_human(facts([*rows, ("state", state)]))


@endpoints_app.command(name="rotate-secret")
def rotate_secret(
    endpoint: EndpointArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Make another secret; for 24 hours messages are signed with both."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(
            peer.webhooks.RotateWebhookSecret, pb.RotateWebhookSecretRequest(id=endpoint)
        )
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(facts([("endpoint", endpoint), ("secret", response.secret)]))
        print_human(Text("keep the secret: it is not shown again"))


@endpoints_app.command()
def remove(
    endpoint: EndpointArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Remove an endpoint, with all that was to be delivered to it."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        peer.call(peer.webhooks.DeleteWebhookEndpoint, pb.DeleteWebhookEndpointRequest(id=endpoint))
    if as_json:
        print_json({"removed": endpoint})
    else:
        print_human(Text(f"endpoint {endpoint} is removed"))


@endpoints_app.command(name="test")
def send_test(
    endpoint: EndpointArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Send a message of type webhook.test."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(
            peer.webhooks.TestWebhookEndpoint, pb.TestWebhookEndpointRequest(id=endpoint)
        )
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(Text(f"{response.message} is on its way; see webhook deliveries"))


@app.command()
def deliveries(
    *,
    endpoint: Annotated[
        str, typer.Option("--endpoint", metavar="ENDPOINT", help="Only to this one")
    ] = "",
    state: Annotated[State | None, typer.Option("--state", help="Only in this state")] = None,
    event_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Only of this type")
    ] = "",
    customer: Annotated[
        str, typer.Option("--customer", metavar="CUSTOMER", help="Only of this customer")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="At most so many")] = 100,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List deliveries, newest first; `--state dead` are the dead letters."""
    request = pb.ListWebhookDeliveriesRequest(
        endpoint=endpoint,
        state=_STATE_TO_PROTO[state],
        event_type=event_type,
        customer=customer,
        page_size=limit,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.webhooks.ListWebhookDeliveries, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        rows = [_delivery_row(each) for each in response.deliveries]
        print_human(listing_or("no deliveries", _DELIVERY_COLUMNS, rows))


@app.command()
def replay(
    endpoint: EndpointArgument,
    *,
    message: Annotated[
        str, typer.Option("--message", metavar="ID", help="This one; else every dead letter")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Send a message again, or every dead letter, under the same ids."""
    request = pb.ReplayWebhookDeliveriesRequest(endpoint=endpoint, message=message)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.webhooks.ReplayWebhookDeliveries, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(Text(f"{response.count:,} to be sent again"))


def _types_text(endpoint: pb.WebhookEndpoint) -> str:
    return ", ".join(endpoint.event_types) or "all"


def _delivery_row(delivery: pb.WebhookDelivery) -> tuple[str | Text, ...]:
    label = enum_label(pb.WebhookDeliveryState.DESCRIPTOR, delivery.state) or ""
    answer = delivery.error
    if not answer and delivery.HasField("status_code"):
        answer = str(delivery.status_code)
    is_pending = delivery.state == pb.WEBHOOK_DELIVERY_STATE_PENDING
    return (
        format_instant(delivery.created_at_unix_ms),
        delivery.endpoint,
        delivery.message,
        delivery.event_type,
        delivery.customer,
        label.lower(),
        number(delivery.attempts),
        answer,
        format_instant(delivery.next_at_unix_ms) if is_pending else "",
    )
