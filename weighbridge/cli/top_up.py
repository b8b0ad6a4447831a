"""`weighbridge credits top-up`: answers to top-up orders."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.credit_text import parse_price
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.cli.top_up_text import orders_view
from weighbridge.v1 import credit_service_pb2 as pb

app = typer.Typer(add_completion=False, help="Say whether a top-up order is paid.")

OrderArgument = Annotated[str, typer.Argument(metavar="ORDER", help="Its id: see credits top-ups")]


@app.command()
def confirm(
    order: OrderArgument,
    *,
    payment: Annotated[
        str, typer.Option("--payment", metavar="ID", help="The payment's id: it counts once")
    ],
    paid: Annotated[
        str,
        typer.Option("--paid", metavar="MINOR:CURRENCY", help="Else the order's one price"),
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Say that an order is paid: its credits are granted, once."""
    request = pb.ConfirmTopUpRequest(
        order=order, payment_id=payment, price_paid=parse_price(paid) if paid else None
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.ConfirmTopUp, request)
    if as_json:
        print_json(message_to_json(response))
        return
    if response.repeated_key:
        print_human(Text("that payment had paid it already"))
    print_human(orders_view([response.order]))


@app.command()
def fail(
    order: OrderArgument,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for people")] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Say that an order is not going to be paid."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(
            peer.credits.FailTopUp, pb.FailTopUpRequest(order=order, reason=reason)
        )
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(orders_view([response.order]))
