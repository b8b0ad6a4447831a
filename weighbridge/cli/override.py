"""`weighbridge override`: negotiated and promotional entitlements of one customer."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.customer_view import show_customer
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.instants import INSTANT_HELP, parse_instant
from weighbridge.cli.limit_text import LIMIT_HELP, parse_limit
from weighbridge.cli.rate_text import RATE_HELP, parse_rate
from weighbridge.v1.admin_service_pb2 import RemoveOverrideRequest, SetOverrideRequest
from weighbridge.v1.types_pb2 import Entitlement

app = typer.Typer(
    add_completion=False, help="Give one customer more or less than its plan grants on a feature."
)


@app.command("set")
def set_override(
    customer: options.CustomerArgument,
    feature: options.FeatureArgument,
    *,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Take the feature away; else it is granted")
    ] = False,
    number: Annotated[
        int | None, typer.Option("--number", metavar="N", help="Of a number feature")
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option("--value", help="A value allowed of an enum feature; repeatable"),
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="LIMIT", help=LIMIT_HELP)
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option("--rate", metavar="RATE", help=RATE_HELP)
    ] = None,
    starts: Annotated[
        str, typer.Option("--starts", metavar="INSTANT", help=f"Else now: {INSTANT_HELP}")
    ] = "",
    expires: Annotated[
        str, typer.Option("--expires", metavar="INSTANT", help="Else never; written alike")
    ] = "",
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Set what a customer has on a feature, in place of an override there is."""
    if disabled and (number is not None or value or limit or rate):
        raise UsageError("--disabled takes the feature away; it goes with no other grant")
    request = SetOverrideRequest(
        customer=customer,
        resource=resource,
        entitlement=Entitlement(
            feature=feature,
            enabled=not disabled,
            number=number,
            values=value,
            limits=[parse_limit(text) for text in limit or ()],
            rates=[parse_rate(text) for text in rate or ()],
        ),
        starts_at_unix_ms=parse_instant(starts) if starts else None,
        expires_at_unix_ms=parse_instant(expires) if expires else None,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.SetOverride, request)
    show_customer(response.customer, as_json=as_json)


@app.command()
def remove(
    customer: options.CustomerArgument,
    feature: options.FeatureArgument,
    *,
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Remove an override: the customer has again what its plan grants."""
    request = RemoveOverrideRequest(customer=customer, resource=resource, feature=feature)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.RemoveOverride, request)
    show_customer(response.customer, as_json=as_json)
