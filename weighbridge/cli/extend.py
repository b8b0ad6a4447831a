"""`weighbridge extend`: hold more units, or for longer."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli import options, reservation_options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.decision_view import decision_table, reservation_table
from weighbridge.cli.exit_codes import CommandNoError
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import ExtendRequest

app = typer.Typer(add_completion=False)


@app.command()
def extend(
    customer: options.CustomerArgument,
    reservation: reservation_options.ReservationArgument,
    *,
    amount: Annotated[
        int | None,
        typer.Option(
            "--amount", metavar="N", help="All units to hold; as many as now if not given"
        ),
    ] = None,
    ttl: reservation_options.TtlOption = None,
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Hold more units, or for longer, or both. Exit code 1: refused, the hold stays as it is."""
    request = ExtendRequest(
        customer=customer,
        reservation=reservation,
        amount=amount,
        ttl_ms=reservation_options.ttl_ms(ttl),
    )
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Extend, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(decision_table(response.decision), reservation_table(response.reservation))
    if not response.decision.allowed:
        raise CommandNoError
