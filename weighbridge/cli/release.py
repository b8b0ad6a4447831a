"""`weighbridge release`: end a reservation and charge nothing."""

from __future__ import annotations

import typer

from weighbridge.cli import options, reservation_options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import facts, print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import ReleaseRequest

app = typer.Typer(add_completion=False)


@app.command()
def release(
    customer: options.CustomerArgument,
    reservation: reservation_options.ReservationArgument,
    *,
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """End the hold and charge nothing."""
    request = ReleaseRequest(customer=customer, reservation=reservation)
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Release, request)
    if as_json:
        print_json(message_to_json(response))
        return
    again = " (an earlier answer; it had ended)" if response.replayed else ""
    expired = " (it had expired)" if response.had_expired else ""
    print_human(facts([("released", f"{response.released_amount:,}{expired}{again}")]))
