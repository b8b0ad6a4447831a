"""`weighbridge statement`: what a customer is charged for a month, to read, to keep, to send."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import ControlPlane, open_control_plane
from weighbridge.cli.exit_codes import CommandError, ExitCode, UsageError
from weighbridge.cli.instants import INSTANT_HELP, format_instant, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import listing_or, print_human, print_json
from weighbridge.cli.statement_page import statement_page
from weighbridge.cli.statement_view import money, show_statement
from weighbridge.runtime.clock import wall_ms
from weighbridge.v1 import billing_service_pb2 as pb

_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
MONTHS = 12

app = typer.Typer(add_completion=False)


@app.command()
def statement(
    customer: options.CustomerArgument,
    *,
    period: Annotated[
        str,
        typer.Option("--period", metavar="YYYY-MM", help="A month (UTC); this one if not given"),
    ] = "",
    since: Annotated[
        str, typer.Option("--from", metavar="INSTANT", help=f"Instead: {INSTANT_HELP}")
    ] = "",
    until: Annotated[
        str, typer.Option("--to", metavar="INSTANT", help="Exclusive; written alike")
    ] = "",
    currency: Annotated[
        str, typer.Option("--currency", metavar="CODE", help="Where plans are sold in several")
    ] = "",
    close: Annotated[
        bool,
        typer.Option("--close", help="Keep it as it is; closed before: keep what that lacks"),
    ] = False,
    closed: Annotated[
        bool, typer.Option("--list", help="List what was closed, newest first")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page to print")
    ] = None,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show what a customer is charged for the billing periods that begin in a month."""
    from_ms, to_ms = _span(period, since, until)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        if closed:
            _list(peer, customer, as_json=as_json)
            return
        if close:
            made = _close(peer, customer, (from_ms, to_ms), currency, as_json=as_json)
        else:
            made = _show(peer, customer, (from_ms, to_ms), currency, as_json=as_json)
    if html is not None:
        _write(html, statement_page(made))


def _show(
    peer: ControlPlane, customer: str, span: tuple[int, int], currency: str, *, as_json: bool
) -> pb.Statement:
    request = pb.GetStatementRequest(
        customer=customer, from_unix_ms=span[0], to_unix_ms=span[1], currency=currency
    )
    response = peer.call(peer.billing.GetStatement, request)
    made = response.statement
    if as_json:
        print_json(message_to_json(response))
        return made
    show_statement(made)
    if response.HasField("closed_minor") and response.closed_minor != made.total_minor:
        lacks = money(made, made.total_minor - response.closed_minor)
        print_human(
            f"It was closed with {money(made, response.closed_minor)}; --close adds {lacks}."
        )
    return made


def _close(
    peer: ControlPlane, customer: str, span: tuple[int, int], currency: str, *, as_json: bool
) -> pb.Statement:
    request = pb.CloseStatementRequest(
        customer=customer, from_unix_ms=span[0], to_unix_ms=span[1], currency=currency
    )
    response = peer.call(peer.billing.CloseStatement, request)
    if as_json:
        print_json(message_to_json(response))
    elif response.unchanged:
        print_human("It was closed before, and nothing is different.")
    else:
        show_statement(response.statement)
    return response.statement


def _list(peer: ControlPlane, customer: str, *, as_json: bool) -> None:
    request = pb.ListStatementsRequest(customer=customer)
    found: list[pb.Statement] = []
    while True:
        page = peer.call(peer.billing.ListStatements, request)
        found += page.statements
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    if as_json:
        print_json({"statements": [message_to_json(each) for each in found]})
        return
    columns = ["from", "to", "number", "closed", "lines", "total"]
    rows = [
        (
            format_instant(each.from_unix_ms)[:10],
            format_instant(each.to_unix_ms)[:10],
            str(each.number),
            format_instant(each.made_at_unix_ms),
            str(len(each.lines)),
            money(each, each.total_minor),
        )
        for each in found
    ]
    print_human(listing_or("nothing was closed", columns, rows))


def _span(period: str, since: str, until: str) -> tuple[int, int]:
    if bool(since) != bool(until):
        raise UsageError("--from and --to go together")
    if since and period:
        raise UsageError("--period: leave it out where --from and --to are given")
    if since:
        return parse_instant(since), parse_instant(until)
    if not period:
        now = datetime.fromtimestamp(wall_ms() / 1000, UTC)
        return _month(now.year, now.month)
    found = _MONTH.fullmatch(period)
    if found is None or not 1 <= int(found[2]) <= MONTHS or int(found[1]) == 0:
        raise UsageError(f"--period: {period!r} is no month; write such as 2026-10")
    return _month(int(found[1]), int(found[2]))


def _month(year: int, month: int) -> tuple[int, int]:
    follows = (year + month // MONTHS, month % MONTHS + 1)
    start, end = (datetime(*each, 1, tzinfo=UTC) for each in ((year, month), follows))
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"cannot write {path}: {error.strerror or error}", ExitCode.FAILED
        ) from error
