"""`weighbridge export`: where usage is sent, how far that is, and what was put aside."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Final

import typer
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label, message_to_json
from weighbridge.cli.output import listing_or, number, print_human, print_json
from weighbridge.v1 import integration_service_pb2 as pb

app = typer.Typer(add_completion=False, help="Send usage to other systems, and look after it.")

ExporterArgument = Annotated[str, typer.Argument(metavar="EXPORTER", help="Its id")]
ITEMS_SHOWN: Final = 100


class State(Enum):
    """How far an item has come."""

    PENDING = "pending"
    SENT = "sent"
    REFUSED = "refused"
    UNCLEAR = "unclear"


_STATES: Final = {
    State.PENDING: pb.EXPORT_ITEM_STATE_PENDING,
    State.SENT: pb.EXPORT_ITEM_STATE_SENT,
    State.REFUSED: pb.EXPORT_ITEM_STATE_REFUSED,
    State.UNCLEAR: pb.EXPORT_ITEM_STATE_UNCLEAR,
}


@app.command("list")
def list_exporters(
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List the exporters of the control plane, and how far each is."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.integrations.ListExporters, pb.ListExportersRequest())
    if as_json:
        print_json(message_to_json(response))
        return
    columns = ["exporter", "kind", "pending", "sent", "refused", "unclear", "since", "last error"]
    rows = [_exporter_row(each) for each in response.exporters]
    print_human(listing_or("no exporters are configured: see docs/exports.md", columns, rows))


@app.command()
def run(
    exporter: ExporterArgument,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent; change and send nothing")
    ] = False,
    include_open: Annotated[
        bool,
        typer.Option("--include-open", help="Windows that have not ended, too"),
    ] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = 300.0,
    as_json: options.JsonOption = False,
) -> None:
    """Send what is due now, instead of within seconds."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        request = pb.RunExporterRequest(
            exporter=exporter, dry_run=dry_run, include_open=include_open
        )
        response = peer.call(peer.integrations.RunExporter, request)
    if as_json:
        print_json(message_to_json(response))
    elif dry_run:
        _show_items(response.items, "nothing would be sent")
    else:
        print_human(
            f"{response.events_summed:,} events summed, {response.items_made:,} items made, "
            f"{response.items_sent:,} sent, {response.items_not_sent:,} not sent"
        )


@app.command()
def items(
    exporter: ExporterArgument,
    *,
    state: Annotated[State | None, typer.Option("--state", help="Only those")] = None,
    page_token: Annotated[
        str, typer.Option("--page-token", help="Go on from there: printed where there are more")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List an exporter's items, oldest first."""
    request = pb.ListExportItemsRequest(
        exporter=exporter,
        state=_STATES[state] if state else pb.EXPORT_ITEM_STATE_UNSPECIFIED,
        page_size=ITEMS_SHOWN,
        page_token=page_token,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.integrations.ListExportItems, request)
    if as_json:
        print_json(message_to_json(response))
        return
    _show_items(response.items, "no items")
    if response.next_page_token:
        print_human(f"There are more: --page-token {response.next_page_token}.")


@app.command()
def decide(
    exporter: ExporterArgument,
    identifier: Annotated[str, typer.Argument(metavar="IDENTIFIER", help="Of the item")],
    *,
    is_there: Annotated[
        bool, typer.Option("--is-there/--send-again", help="What you found on the other side")
    ],
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Decide an item that was refused, or of which it is unclear whether it arrived."""
    request = pb.DecideExportItemRequest(exporter=exporter, identifier=identifier, is_sent=is_there)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.integrations.DecideExportItem, request)
    if as_json:
        print_json(message_to_json(response))
        return
    _show_items([response.item], "")


def _exporter_row(each: pb.Exporter) -> tuple[str | Text, ...]:
    since = ""
    if each.HasField("oldest_pending_unix_ms"):
        since = format_instant(each.oldest_pending_unix_ms)
    counts = (each.pending, each.sent, each.refused, each.unclear)
    return (each.id, each.kind, *map(number, counts), since, each.last_error)


def _show_items(found: Iterable[pb.ExportItem], nothing: str) -> None:
    columns = [
        "window",
        "customer",
        "meter",
        "dimensions",
        "quantity",
        "state",
        "identifier",
        "error",
    ]
    rows = [_item_row(each) for each in found]
    print_human(listing_or(nothing, columns, rows))


def _item_row(item: pb.ExportItem) -> tuple[str | Text, ...]:
    return (
        format_instant(item.window_start_unix_ms),
        f"{item.customer}/{item.resource}" if item.resource else item.customer,
        item.meter,
        ", ".join(f"{name}={value}" for name, value in sorted(item.dimensions.items())),
        number(item.quantity),
        (enum_label(pb.ExportItemState.DESCRIPTOR, item.state) or "").lower(),
        item.identifier,
        item.error,
    )
