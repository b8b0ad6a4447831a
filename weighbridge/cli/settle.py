"""`weighbridge settle`: charge what the work of a reservation really used."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli import options, reservation_options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.decision_view import receipt_table
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import facts, print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import SettleRequest

app = typer.Typer(add_completion=False)


@app.command()
def settle(
    customer: options.CustomerArgument,
    reservation: reservation_options.ReservationArgument,
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", help="Units that were really used")],
    *,
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Charge what was used, and end the hold; after it has expired, too."""
    request = SettleRequest(customer=customer, reservation=reservation, amount=amount)
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Settle, request)
    if as_json:
        print_json(message_to_json(response))
        return
    excess, uncharged = response.excess_amount, response.uncharged_amount
    before = response.charged_before_amount
    print_human(receipt_table(response.receipt, replayed=response.replayed))
    print_human(
        facts(
            [
                ("beyond the hold", f"{excess:,}" if excess else ""),
                ("charged before", f"{before:,}" if before else ""),
                ("not charged", f"{uncharged:,}" if uncharged else ""),
                ("expired", "before; it held nothing any more" if response.had_expired else ""),
            ]
        )
    )
