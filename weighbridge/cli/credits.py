"""`weighbridge credits`: grants, charges and refunds of one customer's credits."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.credit_text import (
    AMOUNT_HELP,
    KEY_HELP,
    TYPE_HELP,
    grants_view,
    key_or_random,
    parse_credits,
    parse_price,
    show_transaction,
)
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.instants import INSTANT_HELP, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.cli.top_up import app as top_up_app
from weighbridge.cli.top_up_text import orders_view
from weighbridge.v1 import credit_service_pb2 as pb
from weighbridge.v1 import types_pb2

app = typer.Typer(add_completion=False, help="Grant, charge and refund a customer's credits.")
app.add_typer(top_up_app, name="top-up")


class Kind(Enum):
    """Why credits are granted."""

    PREPAID = "prepaid"
    PROMOTIONAL = "promotional"
    MANUAL = "manual"
    TRIAL = "trial"
    RECURRING = "recurring"


_KIND_TO_PROTO: Final = {
    Kind.PREPAID: types_pb2.CREDIT_GRANT_KIND_PREPAID,
    Kind.PROMOTIONAL: types_pb2.CREDIT_GRANT_KIND_PROMOTIONAL,
    Kind.MANUAL: types_pb2.CREDIT_GRANT_KIND_MANUAL,
    Kind.TRIAL: types_pb2.CREDIT_GRANT_KIND_TRIAL,
    Kind.RECURRING: types_pb2.CREDIT_GRANT_KIND_RECURRING,
}

TypeArgument = Annotated[str, typer.Argument(metavar="TYPE", help=TYPE_HELP)]
AmountArgument = Annotated[str, typer.Argument(metavar="AMOUNT", help=AMOUNT_HELP)]
KeyOption = Annotated[str, typer.Option("--key", help=KEY_HELP)]
NoteOption = Annotated[str, typer.Option("--note", help="Why, for people")]


@app.command()
def grant(
    customer: options.CustomerArgument,
    credit_type: TypeArgument,
    amount: AmountArgument,
    *,
    kind: Annotated[Kind, typer.Option("--kind", help="Why they are granted")] = Kind.MANUAL,
    effective: Annotated[
        str, typer.Option("--effective", metavar="INSTANT", help=f"Else now: {INSTANT_HELP}")
    ] = "",
    expires: Annotated[
        str, typer.Option("--expires", metavar="INSTANT", help="Else never; written alike")
    ] = "",
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="N", help="Lower burns first; else 100")
    ] = None,
    paid: Annotated[
        str,
        typer.Option("--paid", metavar="MINOR:CURRENCY", help="What was paid, such as 1999:USD"),
    ] = "",
    key: KeyOption = "",
    note: NoteOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Grant credits to a customer."""
    request = pb.GrantCreditsRequest(
        customer=customer,
        credit_type=credit_type,
        key=key_or_random(key),
        kind=_KIND_TO_PROTO[kind],
        amount_micro=parse_credits("AMOUNT", amount),
        priority=priority,
        effective_at_unix_ms=parse_instant(effective) if effective else None,
        expires_at_unix_ms=parse_instant(expires) if expires else None,
        price_paid=parse_price(paid) if paid else None,
        note=note,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.GrantCredits, request)
    show_transaction(response.transaction, is_repeated=response.repeated_key, as_json=as_json)


@app.command()
def adjust(
    customer: options.CustomerArgument,
    credit_type: TypeArgument,
    grant_id: Annotated[int, typer.Argument(metavar="GRANT", help="Its id: see credits grants")],
    *,
    add: Annotated[str, typer.Option("--add", metavar="AMOUNT", help=AMOUNT_HELP)] = "",
    withdraw: Annotated[str, typer.Option("--withdraw", metavar="AMOUNT", help=AMOUNT_HELP)] = "",
    key: KeyOption = "",
    note: NoteOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Add to a grant, or withdraw what is left of it."""
    if bool(add) == bool(withdraw):
        raise UsageError("give either --add or --withdraw")
    change = parse_credits("--add", add) if add else -parse_credits("--withdraw", withdraw)
    request = pb.AdjustGrantRequest(
        customer=customer,
        credit_type=credit_type,
        key=key_or_random(key),
        grant=grant_id,
        change_micro=change,
        note=note,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.AdjustGrant, request)
    show_transaction(response.transaction, is_repeated=response.repeated_key, as_json=as_json)


@app.command()
def charge(
    customer: options.CustomerArgument,
    credit_type: TypeArgument,
    amount: AmountArgument,
    *,
    at: Annotated[
        str, typer.Option("--at", metavar="INSTANT", help=f"When it was used: {INSTANT_HELP}")
    ] = "",
    overage: Annotated[
        str,
        typer.Option(
            "--overage", metavar="AMOUNT", help="What may post beyond the balance; else 0"
        ),
    ] = "",
    event: Annotated[
        str, typer.Option("--event", metavar="KEY", help="The usage's idempotency key")
    ] = "",
    key: KeyOption = "",
    note: NoteOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Charge credits by hand, from the grants in burn order."""
    request = pb.ChargeCreditsRequest(
        customer=customer,
        credit_type=credit_type,
        key=key_or_random(key),
        amount_micro=parse_credits("AMOUNT", amount),
        at_unix_ms=parse_instant(at) if at else None,
        overage_max_micro=parse_credits("--overage", overage) if overage else None,
        usage=pb.UsageReference(event_key=event) if event else None,
        note=note,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.ChargeCredits, request)
    show_transaction(response.transaction, is_repeated=response.repeated_key, as_json=as_json)


@app.command()
def refund(
    customer: options.CustomerArgument,
    of_key: Annotated[
        str, typer.Argument(metavar="KEY", help="Of the transaction: see ledger entries")
    ],
    *,
    amount: Annotated[
        str, typer.Option("--amount", help="Part of a charge; else all that is left of it")
    ] = "",
    key: KeyOption = "",
    note: NoteOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Take a transaction back, or give a part of a charge back."""
    request = pb.RefundCreditsRequest(
        customer=customer,
        key=key_or_random(key),
        of_key=of_key,
        amount_micro=parse_credits("--amount", amount) if amount else None,
        note=note,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.RefundCredits, request)
    show_transaction(response.transaction, is_repeated=response.repeated_key, as_json=as_json)


@app.command()
def grants(
    customer: options.CustomerArgument,
    *,
    credit_type: Annotated[
        str, typer.Option("--credit", metavar="TYPE", help="Only of one type")
    ] = "",
    with_empty: Annotated[
        bool, typer.Option("--all", help="Also those that have nothing left")
    ] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List a customer's grants in the order in which they burn."""
    request = pb.ListGrantsRequest(
        customer=customer, credit_type=credit_type, with_empty=with_empty
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.ListGrants, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(grants_view(list(response.grants)))


@app.command(name="top-ups")
def top_ups(
    customer: options.CustomerArgument,
    *,
    credit_type: Annotated[
        str, typer.Option("--credit", metavar="TYPE", help="Only of one type")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="At most so many")] = 100,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List a customer's top-up orders, newest first."""
    request = pb.ListTopUpsRequest(customer=customer, credit_type=credit_type, page_size=limit)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.credits.ListTopUps, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(orders_view(list(response.orders)))
