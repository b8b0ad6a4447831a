"""`weighbridge reserve`: hold units for work whose cost is not known yet."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from weighbridge.cli import options, reservation_options, usage_options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.decision_view import decision_table, reservation_table
from weighbridge.cli.exit_codes import CommandNoError
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import ReserveRequest

app = typer.Typer(add_completion=False)


@app.command()
def reserve(
    customer: options.CustomerArgument,
    feature: options.FeatureArgument,
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", help="Units to hold: the worst case")],
    *,
    reservation: Annotated[
        str, typer.Option("--reservation", metavar="ID", help="Its id; a random one if not given")
    ] = "",
    ttl: reservation_options.TtlOption = None,
    dimension: usage_options.DimensionOption = None,
    resource: options.ResourceOption = "",
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Hold units until they are settled or released. Exit code 1: refused, nothing is held."""
    request = ReserveRequest(
        customer=customer,
        resource=resource,
        feature=feature,
        amount=amount,
        reservation=reservation or uuid.uuid4().hex,
        ttl_ms=reservation_options.ttl_ms(ttl),
        dimensions=usage_options.parse_dimensions(dimension),
    )
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Reserve, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(decision_table(response.decision))
        if response.HasField("reservation"):
            print_human(reservation_table(response.reservation, replayed=response.replayed))
    if not response.decision.allowed:
        raise CommandNoError
