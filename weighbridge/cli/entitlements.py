"""`weighbridge entitlements`: all a customer is entitled to."""

from __future__ import annotations

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.entitlements_view import entitlements_view
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import GetEntitlementsRequest

app = typer.Typer(add_completion=False)


@app.command()
def entitlements(
    customer: options.CustomerArgument,
    *,
    resource: options.ResourceOption = "",
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show all entitlements of a customer, with what is used of them, as the sidecar holds them."""
    request = GetEntitlementsRequest(customer=customer, resource=resource)
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.GetEntitlements, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(entitlements_view(response.entitlements))
