"""`weighbridge check`: asks whether a call would be allowed."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.decision_view import decision_table
from weighbridge.cli.exit_codes import CommandNoError
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import CheckRequest

app = typer.Typer(add_completion=False)


@app.command()
def check(
    customer: options.CustomerArgument,
    feature: options.FeatureArgument,
    *,
    amount: Annotated[
        int | None, typer.Option("--amount", metavar="N", help="Units wanted; 1 where not given")
    ] = None,
    value: Annotated[str, typer.Option("--value", help="The value wanted of an enum feature")] = "",
    resource: options.ResourceOption = "",
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Ask the sidecar whether a call would be allowed. Records nothing. Exit code 1: refused."""
    request = CheckRequest(
        customer=customer, resource=resource, feature=feature, amount=amount, value=value
    )
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Check, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(decision_table(response.decision))
    if not response.decision.allowed:
        raise CommandNoError
