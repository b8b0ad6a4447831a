"""`weighbridge import`: what billing systems sent, and what could not be applied of it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Final

import typer
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import ControlPlane, open_control_plane
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label, message_to_json
from weighbridge.cli.output import listing_or, print_human, print_json
from weighbridge.v1 import integration_service_pb2 as pb

app = typer.Typer(add_completion=False, help="Look after what billing systems sent.")

EVENTS_SHOWN: Final = 100
PAGE_SIZE_MAX: Final = 1_000


class State(Enum):
    """What became of an event."""

    APPLIED = "applied"
    IGNORED = "ignored"
    SET_ASIDE = "set-aside"


_STATES: Final = {
    State.APPLIED: pb.IMPORTED_EVENT_STATE_APPLIED,
    State.IGNORED: pb.IMPORTED_EVENT_STATE_IGNORED,
    State.SET_ASIDE: pb.IMPORTED_EVENT_STATE_SET_ASIDE,
}


@app.command("list")
def list_events(
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
    """List events, oldest first: what became of each, and why."""
    request = pb.ListImportedEventsRequest(
        state=_STATES[state] if state else pb.IMPORTED_EVENT_STATE_UNSPECIFIED,
        page_size=EVENTS_SHOWN,
        page_token=page_token,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.integrations.ListImportedEvents, request)
    if as_json:
        print_json(message_to_json(response))
        return
    _show(response.events)
    if response.next_page_token:
        print_human(f"There are more: --page-token {response.next_page_token!r}.")


@app.command()
def replay(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The id that it came with")] = "",
    *,
    source: Annotated[str, typer.Option("--source", help="The system that sent it")] = "stripe",
    replay_all: Annotated[
        bool, typer.Option("--all", help="Everything that is set aside, oldest first")
    ] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Apply again what was set aside. What still cannot be applied stays there."""
    if replay_all == bool(event):
        raise UsageError("name one EVENT, or --all")
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        wanted = _set_aside(peer) if replay_all else [(source, event)]
        replayed = [
            peer.call(
                peer.integrations.ReplayImportedEvent,
                pb.ReplayImportedEventRequest(source=each[0], id=each[1]),
            ).event
            for each in wanted
        ]
    if as_json:
        print_json({"events": [message_to_json(each) for each in replayed]})
    else:
        _show(replayed)


def _set_aside(peer: ControlPlane) -> list[tuple[str, str]]:
    request = pb.ListImportedEventsRequest(
        state=pb.IMPORTED_EVENT_STATE_SET_ASIDE, page_size=PAGE_SIZE_MAX
    )
    found: list[tuple[str, str]] = []
    while True:
        page = peer.call(peer.integrations.ListImportedEvents, request)
        found += [(each.source, each.id) for each in page.events]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def _show(found: Iterable[pb.ImportedEvent]) -> None:
    columns = ["received", "source", "event", "type", "customer", "state", "reason"]
    print_human(listing_or("no events", columns, [_row(each) for each in found]))


def _row(each: pb.ImportedEvent) -> tuple[str | Text, ...]:
    state = enum_label(pb.ImportedEventState.DESCRIPTOR, each.state) or ""
    return (
        format_instant(each.received_at_unix_ms),
        each.source,
        each.id,
        each.type,
        each.customer,
        state.lower().replace("_", " "),
        each.reason,
    )
