"""`weighbridge external-id`: what customers are called in Stripe, Zuora, a CRM."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import listing_or, print_human, print_json
from weighbridge.v1 import integration_service_pb2 as pb

app = typer.Typer(add_completion=False, help="Say what customers are called elsewhere.")

SystemArgument = Annotated[
    str, typer.Argument(metavar="SYSTEM", help="stripe, zuora, crm, or a word of yours")
]


@app.command("set")
def set_external_id(
    customer: options.CustomerArgument,
    system: SystemArgument,
    external_id: Annotated[str, typer.Argument(metavar="ID", help="What it is called there")],
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Say what a customer is called in a system."""
    wanted = pb.ExternalId(customer=customer, system=system, external_id=external_id)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        peer.call(peer.integrations.SetExternalId, pb.SetExternalIdRequest(external_id=wanted))
    if as_json:
        print_json(message_to_json(wanted))
    else:
        print_human(f"{customer} is {external_id} in {system}.")


@app.command()
def remove(
    customer: options.CustomerArgument,
    system: SystemArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Forget what a customer is called in a system."""
    wanted = pb.ExternalId(customer=customer, system=system)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        peer.call(peer.integrations.SetExternalId, pb.SetExternalIdRequest(external_id=wanted))
    if as_json:
        print_json(message_to_json(wanted))
    else:
        print_human(f"{customer} has no name in {system} any more.")


@app.command("list")
def list_external_ids(
    *,
    customer: Annotated[str, typer.Option("--customer", metavar="ID", help="Only of one")] = "",
    system: Annotated[str, typer.Option("--system", metavar="NAME", help="Only of one")] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List what customers are called elsewhere."""
    request = pb.ListExternalIdsRequest(customer=customer, system=system, page_size=1_000)
    found: list[pb.ExternalId] = []
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        while True:
            page = peer.call(peer.integrations.ListExternalIds, request)
            found += page.external_ids
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    if as_json:
        print_json({"external_ids": [message_to_json(each) for each in found]})
        return
    rows = [(each.customer, each.system, each.external_id) for each in found]
    print_human(listing_or("none", ["customer", "system", "id there"], rows))
