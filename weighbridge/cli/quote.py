"""`weighbridge quote`: what usage would cost a customer, and whether it would pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.decision_view import money_text, verdict
from weighbridge.cli.exit_codes import CommandNoError, UsageError
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import facts, listing, number, print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import (
    QuotedItem,
    QuotedLine,
    QuoteItem,
    QuoteRequest,
    QuoteResponse,
)

app = typer.Typer(add_completion=False)

_CREDIT_PLACES = 6


@app.command()
def quote(
    customer: options.CustomerArgument,
    items: Annotated[
        list[str],
        typer.Argument(metavar="ITEM...", help="FEATURE=AMOUNT[,DIMENSION=VALUE]...; several"),
    ],
    *,
    currency: Annotated[
        str, typer.Option("--currency", metavar="CODE", help="Else the one the plan is sold in")
    ] = "",
    resource: options.ResourceOption = "",
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Price usage on the customer's own plan. Records nothing. Exit code 1: some would not pass."""
    request = QuoteRequest(
        customer=customer, resource=resource, currency=currency, items=map(_item, items)
    )
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Quote, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(*_view(response))
    if not all(item.decision.allowed for item in response.items):
        raise CommandNoError


def _item(text: str) -> QuoteItem:
    first, *pairs = text.split(",")
    feature, _, amount = first.partition("=")
    if not (amount.isascii() and amount.isdigit()) or not feature:
        raise UsageError(f"{text!r}: write FEATURE=AMOUNT[,DIMENSION=VALUE]...")
    dimensions: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in dimensions:
            raise UsageError(f"{text!r}: {pair!r} is no DIMENSION=VALUE of its own")
        dimensions[name] = value
    return QuoteItem(feature=feature, amount=int(amount), dimensions=dimensions)


def _view(response: QuoteResponse) -> Iterator[RenderableType]:
    yield listing(
        ("feature", "amount", "", "would hold"), [_item_row(item) for item in response.items]
    )
    if response.lines:
        columns = ("price", "amount", "included", "charged", "used before", "cost")
        yield listing(columns, [_line_row(line) for line in response.lines])
    credits_ = ", ".join(_credits(each.credit_type, each.micro) for each in response.credits)
    total = f"{response.total} {response.currency}" if response.currency else ""
    plan = f"{response.plan} version {response.plan_version}" if response.plan else ""
    yield facts(
        [
            ("plan", plan),
            ("total", total),
            ("credits", credits_),
            ("without a price", ", ".join(response.unmatched_features)),
        ]
    )


def _item_row(item: QuotedItem) -> tuple[str | Text, ...]:
    held = [
        money_text(each.micros, each.exponent, each.currency) + f" of {each.feature}"
        for each in item.hold_money
    ]
    if item.HasField("hold_credits"):
        held.append(_credits(item.hold_credits.credit_type, item.hold_credits.micro))
    feature, decision = item.decision.feature, item.decision
    return feature, number(item.amount), verdict(decision), ", ".join(held)


def _line_row(line: QuotedLine) -> tuple[str | Text, ...]:
    before = "not known, taken as 0" if line.is_used_assumed else f"{line.used_before:,}"
    name = f"{line.price} ({line.add_on})" if line.add_on else line.price
    counts = (number(line.amount), number(line.included_amount), number(line.charged_amount))
    return name, *counts, before, line.cost


def _credits(credit_type: str, micro: int) -> str:
    whole, part = divmod(micro, 10**_CREDIT_PLACES)
    fraction = f".{part:0{_CREDIT_PLACES}}".rstrip("0") if part else ""
    return f"{whole:,}{fraction} {credit_type}"
