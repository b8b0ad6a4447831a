"""`weighbridge set-aside`: usage that could not be applied, and replaying it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import listing_or, number, print_human, print_json
from weighbridge.v1 import usage_service_pb2 as pb

app = typer.Typer(add_completion=False, help="Look after usage that could not be applied.")

ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="REASON", help="Only of one, such as customer_unknown")
]


@app.command("list")
def list_set_aside(
    *,
    reason: ReasonOption = "",
    page_token: Annotated[
        str, typer.Option("--page-token", help="Go on from there: printed where there are more")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List usage that was set aside, oldest first."""
    request = pb.ListSetAsideRequest(reason=reason, page_token=page_token)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.usage.ListSetAside, request)
    if as_json:
        print_json(message_to_json(response))
        return
    columns = ["id", "received", "reason", "customer", "feature", "amount", "replay"]
    print_human(listing_or("nothing is set aside", columns, [_row(u) for u in response.usage]))
    if response.next_page_token:
        print_human(f"There are more: --page-token {response.next_page_token}.")


@app.command()
def replay(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="All where none is given")
    ] = None,
    *,
    reason: ReasonOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = 300.0,
    as_json: options.JsonOption = False,
) -> None:
    """Settle what was set aside, once the customer or feature it lacked is there."""
    request = pb.ReplaySetAsideRequest(ids=ids or (), reason=reason)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.usage.ReplaySetAside, request)
    if as_json:
        print_json(message_to_json(response))
        return
    again = f", of which {response.set_aside_again:,} were set aside again"
    print_human(f"{response.replayed:,} replayed{again if response.set_aside_again else ''}")


def _row(usage: pb.SetAsideUsage) -> tuple[str, ...]:
    told = json.loads(usage.payload)
    amount = told.get("amount")
    return (
        str(usage.id),
        format_instant(usage.received_at_unix_ms),
        usage.reason,
        str(told.get("customer", "")),
        str(told.get("feature", "a whole record")),
        "" if amount is None else str(number(amount)),
        "yes" if usage.replayable else "no",
    )
