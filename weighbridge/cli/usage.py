"""`weighbridge usage`: settled usage, summed."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import typer
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.instants import INSTANT_HELP, format_instant, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import listing_or, number, print_human, print_json
from weighbridge.v1 import admin_service_pb2
from weighbridge.v1.admin_service_pb2 import QueryUsageRequest, UsageRow

app = typer.Typer(add_completion=False)


class Group(Enum):
    """What to tell apart."""

    CUSTOMER = "customer"
    RESOURCE = "resource"
    FEATURE = "feature"
    HOUR = "hour"
    DAY = "day"


_GROUP_TO_PROTO: Final = {
    Group.CUSTOMER: admin_service_pb2.USAGE_GROUP_CUSTOMER,
    Group.RESOURCE: admin_service_pb2.USAGE_GROUP_RESOURCE,
    Group.FEATURE: admin_service_pb2.USAGE_GROUP_FEATURE,
    Group.HOUR: admin_service_pb2.USAGE_GROUP_HOUR,
    Group.DAY: admin_service_pb2.USAGE_GROUP_DAY,
}
_DEFAULT_GROUPS: Final = (Group.CUSTOMER, Group.FEATURE)


@app.command()
def usage(
    *,
    customer: Annotated[str, typer.Option("--customer", metavar="ID", help="Only of one")] = "",
    resource: Annotated[str, typer.Option("--resource", metavar="ID", help="Only of one")] = "",
    feature: Annotated[str, typer.Option("--feature", metavar="ID", help="Only of one")] = "",
    since: Annotated[
        str, typer.Option("--from", metavar="INSTANT", help=f"Inclusive: {INSTANT_HELP}")
    ] = "",
    until: Annotated[
        str, typer.Option("--to", metavar="INSTANT", help="Exclusive; written alike")
    ] = "",
    group_by: Annotated[
        list[Group] | None,
        typer.Option("--group-by", help="Repeatable; customer and feature where not given"),
    ] = None,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Sum the usage that the control plane has settled."""
    groups = tuple(dict.fromkeys(group_by)) if group_by else _DEFAULT_GROUPS
    request = QueryUsageRequest(
        customer=customer,
        resource=resource,
        feature=feature,
        from_unix_ms=parse_instant(since) if since else None,
        to_unix_ms=parse_instant(until) if until else None,
        group_by=[_GROUP_TO_PROTO[group] for group in groups],
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.QueryUsage, request)
    if as_json:
        print_json(message_to_json(response))
        return
    columns = [group.value for group in groups] + ["amount", "calls"]
    print_human(listing_or("no usage", columns, [_cells(row, groups) for row in response.rows]))


def _cells(row: UsageRow, groups: tuple[Group, ...]) -> tuple[str | Text, ...]:
    named = {
        Group.CUSTOMER: row.customer,
        Group.RESOURCE: row.resource,
        Group.FEATURE: row.feature,
        Group.HOUR: format_instant(row.bucket_start_unix_ms),
        Group.DAY: format_instant(row.bucket_start_unix_ms)[:10],
    }
    return (*(named[group] for group in groups), number(row.amount), number(row.calls))
