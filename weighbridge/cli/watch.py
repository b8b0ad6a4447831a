"""`weighbridge watch`: a customer's entitlements as they change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import grpc
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import Sidecar, open_sidecar
from weighbridge.cli.entitlements_view import entitlements_view
from weighbridge.cli.exit_codes import CommandError, ExitCode
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json, screen
from weighbridge.v1.sidecar_service_pb2 import WatchRequest
from weighbridge.v1.types_pb2 import CustomerEntitlements

app = typer.Typer(add_completion=False)


@app.command()
def watch(
    customer: options.CustomerArgument,
    *,
    resource: options.ResourceOption = "",
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=1, help="End after N updates, the first included"),
    ] = None,
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    as_json: options.JsonOption = False,
) -> None:
    """Follow a customer's entitlements until Ctrl-C. With --json: one line per change."""
    with open_sidecar(sidecar, options.DEFAULT_TIMEOUT_S) as peer:
        updates = islice(_updates(peer, WatchRequest(customer=customer, resource=resource)), count)
        if as_json:
            for update in updates:
                print_json(message_to_json(update))
        else:
            _show(updates)


def _updates(peer: Sidecar, request: WatchRequest) -> Iterator[CustomerEntitlements]:
    """Yield each state. Raises CommandError when the stream ends: it does not end by itself."""
    try:
        for response in peer.service.Watch(request):
            yield response.entitlements
    except grpc.RpcError as error:
        raise peer.explain(error) from error
    raise CommandError(f"{peer.name} at {peer.address} ended the watch", ExitCode.UNAVAILABLE)


def _show(updates: Iterator[CustomerEntitlements]) -> None:
    console = screen()
    if not console.is_terminal:
        for update in updates:
            print_human(entitlements_view(update))
        return
    with Live(console=console, auto_refresh=False) as live:
        for update in updates:
            # The last line is empty: after a full one the terminal's "^C" would wrap, and scroll.
            live.update(Group(entitlements_view(update), Text()), refresh=True)
