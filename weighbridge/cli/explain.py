"""`weighbridge explain`: why a customer has what it has on a feature."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.explanation_view import explanation_view
from weighbridge.cli.instants import INSTANT_HELP, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.v1.admin_service_pb2 import ExplainEntitlementRequest

app = typer.Typer(add_completion=False)


@app.command()
def explain(
    customer: options.CustomerArgument,
    feature: options.FeatureArgument,
    *,
    resource: options.ResourceOption = "",
    at: Annotated[
        str, typer.Option("--at", metavar="INSTANT", help=f"Else now: {INSTANT_HELP}")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Say which plan, add-on, override and parent gave a customer what it has, and what is used."""
    request = ExplainEntitlementRequest(customer=customer, resource=resource, feature=feature)
    if at:
        request.at_unix_ms = parse_instant(at)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.ExplainEntitlement, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(explanation_view(response))
