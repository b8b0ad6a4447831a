"""`weighbridge usage`: settled usage, summed; and as a picture."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.exit_codes import CommandError, ExitCode, UsageError
from weighbridge.cli.instants import INSTANT_HELP, format_instant, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import listing_or, number, print_human, print_json
from weighbridge.cli.usage_chart import Series, chart_of
from weighbridge.cli.usage_options import parse_dimensions
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
    WEEK = "week"
    MONTH = "month"


class Bucket(Enum):
    """How long a bar of a chart is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Split(Enum):
    """What the parts of a bar are."""

    CUSTOMER = "customer"
    RESOURCE = "resource"
    FEATURE = "feature"


_GROUP_TO_PROTO: Final = {
    group: admin_service_pb2.UsageGroup.Value(f"USAGE_GROUP_{group.name}") for group in Group
}
_TIMES: Final = {Group.HOUR, Group.DAY, Group.WEEK, Group.MONTH}
_DEFAULT_GROUPS: Final = (Group.CUSTOMER, Group.FEATURE)

CustomerOption = Annotated[str, typer.Option("--customer", metavar="ID", help="Only of one")]
ResourceOption = Annotated[str, typer.Option("--resource", metavar="ID", help="Only of one")]
FeatureOption = Annotated[str, typer.Option("--feature", metavar="ID", help="Only of one")]
BelowOption = Annotated[
    bool, typer.Option("--below", help="Of the customer, and of everybody below it")
]
SinceOption = Annotated[
    str, typer.Option("--from", metavar="INSTANT", help=f"Inclusive: {INSTANT_HELP}")
]
UntilOption = Annotated[
    str, typer.Option("--to", metavar="INSTANT", help="Exclusive; written alike")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--dimension", metavar="NAME=VALUE", help="Only with this; repeatable"),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which usage."""

    customer: str
    resource: str
    feature: str
    below: bool
    since: str
    until: str
    where: list[str] | None

    def request(self, groups: Sequence[Group], dimensions: Sequence[str]) -> QueryUsageRequest:
        """Return what to ask for."""
        return QueryUsageRequest(
            customer=self.customer,
            resource=self.resource,
            feature=self.feature,
            from_unix_ms=parse_instant(self.since) if self.since else None,
            to_unix_ms=parse_instant(self.until) if self.until else None,
            group_by=[_GROUP_TO_PROTO[group] for group in groups],
            group_by_dimensions=dimensions,
            dimensions=parse_dimensions(self.where),
            with_below=self.below,
        )


@app.callback(invoke_without_command=True)
def usage(
    context: typer.Context,
    *,
    customer: CustomerOption = "",
    resource: ResourceOption = "",
    feature: FeatureOption = "",
    below: BelowOption = False,
    since: SinceOption = "",
    until: UntilOption = "",
    where: WhereOption = None,
    group_by: Annotated[
        list[Group] | None,
        typer.Option("--group-by", help="Repeatable; customer and feature where not given"),
    ] = None,
    by_dimension: Annotated[
        list[str] | None,
        typer.Option("--by-dimension", metavar="NAME", help="Tell its values apart; repeatable"),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header")] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Sum the usage that the control plane has settled."""
    if context.invoked_subcommand is not None:
        return
    if as_csv and as_json:
        raise UsageError("--csv and --json: choose one")
    groups = tuple(dict.fromkeys(group_by)) if group_by else _DEFAULT_GROUPS
    dimensions = tuple(dict.fromkeys(by_dimension or ()))
    wanted = Wanted(customer, resource, feature, below, since, until, where)
    request = wanted.request(groups, dimensions)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.QueryUsage, request)
    if as_json:
        print_json(message_to_json(response))
        return
    columns = [*(group.value for group in groups), *dimensions, "amount", "calls"]
    if as_csv:
        _print_csv(columns, [_texts(row, groups, dimensions) for row in response.rows])
        return
    rows = [_cells(row, groups, dimensions) for row in response.rows]
    print_human(listing_or("no usage", columns, rows))


@app.command()
def chart(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The SVG to write")],
    *,
    customer: CustomerOption = "",
    resource: ResourceOption = "",
    feature: FeatureOption = "",
    below: BelowOption = False,
    since: SinceOption = "30d",
    until: UntilOption = "",
    where: WhereOption = None,
    every: Annotated[Bucket, typer.Option("--every", help="How long a bar is")] = Bucket.DAY,
    split: Annotated[Split, typer.Option("--split", help="What its parts are")] = Split.FEATURE,
    split_dimension: Annotated[
        str, typer.Option("--split-dimension", metavar="NAME", help="Instead: its values")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
) -> None:
    """Draw usage over time as an SVG that any browser shows."""
    wanted = Wanted(customer, resource, feature, below, since, until, where)
    groups = [Group(every.value)]
    if not split_dimension:
        groups.append(Group(split.value))
    dimensions = [split_dimension] if split_dimension else []
    request = wanted.request(groups, dimensions)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.QueryUsage, request)
    series = Series(every.value)
    for row in response.rows:
        name = getattr(row, split.value)
        if split_dimension:
            name = row.dimensions.get(split_dimension, "(none)")
        series.add(name or "(none)", row.bucket_start_unix_ms, row.amount)
    named = (customer, resource, feature, *(where or ()))
    title = " · ".join(part for part in named if part) or "all usage"
    try:
        file.write_text(chart_of(title, series), encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"cannot write {file}: {error.strerror or error}", ExitCode.FAILED
        ) from error
    print_human(f"{file}: {len(response.rows):,} sums in {len(series.starts):,} bars")


def _texts(
    row: UsageRow, groups: Sequence[Group], dimensions: Sequence[str]
) -> tuple[str | int, ...]:
    named = {
        Group.CUSTOMER: row.customer,
        Group.RESOURCE: row.resource,
        Group.FEATURE: row.feature,
    }
    start = format_instant(row.bucket_start_unix_ms)
    plain = (
        named[group] if group not in _TIMES else start if group is Group.HOUR else start[:10]
        for group in groups
    )
    told = (row.dimensions.get(name, "") for name in dimensions)
    return (*plain, *told, row.amount, row.calls)


def _cells(
    row: UsageRow, groups: Sequence[Group], dimensions: Sequence[str]
) -> tuple[str | Text, ...]:
    cells = _texts(row, groups, dimensions)
    return tuple(number(cell) if isinstance(cell, int) else cell for cell in cells)


def _print_csv(columns: Sequence[str], rows: Sequence[Sequence[str | int]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
