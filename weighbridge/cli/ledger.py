"""`weighbridge ledger`: what the credit ledgers hold, and whether they add up."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import ControlPlane, open_control_plane
from weighbridge.cli.credit_text import credits_cell, entries_text, kind_text
from weighbridge.cli.exit_codes import CommandNoError
from weighbridge.cli.instants import INSTANT_HELP, format_instant, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import listing, listing_or, print_human, print_json
from weighbridge.v1 import credit_service_pb2 as pb

PAGE_SIZE_MAX = 1_000

app = typer.Typer(add_completion=False, help="Show credit ledgers, and verify them.")

CreditOption = Annotated[str, typer.Option("--credit", metavar="TYPE", help="Only of one type")]


@app.command()
def entries(
    customer: options.CustomerArgument,
    *,
    credit_type: CreditOption = "",
    event: Annotated[
        str,
        typer.Option(
            "--event", metavar="KEY", help="Only what this usage was charged and refunded"
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="At most N; 0 means all")
    ] = 100,
    page_token: Annotated[
        str, typer.Option("--page-token", help="Go on from there: printed where there are more")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List a customer's transactions with their entries, newest first."""
    request = pb.ListLedgerRequest(
        customer=customer, credit_type=credit_type, event_key=event, page_token=page_token
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        transactions, next_page_token = _pages(peer, request, limit)
    if as_json:
        shapes = [message_to_json(each) for each in transactions]
        print_json({"transactions": shapes, "next_page_token": next_page_token or None})
        return
    columns = ["booked", "type", "number", "kind", "amount", "entries", "key", "event", "note"]
    print_human(listing_or("no transactions", columns, [_row(each) for each in transactions]))
    if next_page_token:
        print_human(f"There are more: --page-token {next_page_token}, or --limit 0 for all.")


@app.command()
def balance(
    customer: options.CustomerArgument,
    *,
    credit_type: CreditOption = "",
    at: Annotated[
        str, typer.Option("--at", metavar="INSTANT", help=f"As it was then: {INSTANT_HELP}")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show a customer's balances, now or as the ledger had them at an instant."""
    request = pb.GetBalancesRequest(
        customer=customer,
        credit_type=credit_type,
        at_unix_ms=parse_instant(at) if at else None,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.GetBalances, request)
    if as_json:
        print_json(message_to_json(response))
        return
    columns = [
        "type", "available", "reserved", "settled", "scheduled", "granted", "overage",
        "presumed", "expired", "withdrawn",
    ]  # fmt: skip
    rows = [_balance_row(each) for each in response.balances]
    print_human(listing_or("no credits", columns, rows))


@app.command()
def verify(
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = 600.0,
    as_json: options.JsonOption = False,
) -> None:
    """Recompute every balance from entries alone; end with 1 where something differs."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.VerifyLedgers, pb.VerifyLedgersRequest())
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(
            f"{response.ledgers:,} ledgers, {response.transactions:,} transactions, "
            f"{response.entries:,} entries, {response.grants:,} grants"
        )
        rows = [(each.table, each.row, each.expected, each.found) for each in response.differences]
        columns = ["table", "row", "expected", "found"]
        print_human(listing(columns, rows) if rows else "Everything adds up.")
    if response.differences:
        raise CommandNoError


def _pages(
    peer: ControlPlane, request: pb.ListLedgerRequest, limit: int
) -> tuple[list[pb.LedgerTransaction], str]:
    transactions: list[pb.LedgerTransaction] = []
    while True:
        missing = limit - len(transactions) if limit else PAGE_SIZE_MAX
        request.page_size = min(missing, PAGE_SIZE_MAX)
        response = peer.call(peer.credits.ListLedger, request)
        transactions += response.transactions
        request.page_token = response.next_page_token
        if not request.page_token or (limit and len(transactions) >= limit):
            return transactions, request.page_token


def _row(transaction: pb.LedgerTransaction) -> tuple[str | Text, ...]:
    return (
        format_instant(transaction.booked_at_unix_ms),
        transaction.credit_type,
        str(transaction.number),
        kind_text(transaction),
        credits_cell(transaction.amount_micro),
        entries_text(transaction),
        transaction.key,
        transaction.usage.event_key,
        transaction.note,
    )


def _balance_row(each: pb.CreditBalance) -> tuple[str | Text, ...]:
    is_now = each.HasField("reserved_micro")
    return (
        each.credit_type,
        credits_cell(each.available_micro),
        credits_cell(each.reserved_micro) if is_now else "",
        credits_cell(each.settled_micro),
        credits_cell(each.scheduled_micro),
        credits_cell(each.granted_micro),
        credits_cell(each.overage_micro),
        credits_cell(each.presumed_micro),
        credits_cell(each.expired_micro),
        credits_cell(each.withdrawn_micro),
    )
