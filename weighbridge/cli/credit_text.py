"""Credits as people write and read them, and the tables of the ledger."""

from __future__ import annotations

import secrets
from decimal import Decimal, InvalidOperation
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label, message_to_json
from weighbridge.cli.output import facts, listing_or, print_human, print_json
from weighbridge.rules.credits import MICRO
from weighbridge.v1 import credit_service_pb2 as pb
from weighbridge.v1 import types_pb2

AMOUNT_HELP: Final = "Credits, at most 6 decimals"
KEY_HELP: Final = "Repeat a command with its key, and it counts once; else a random one"
TYPE_HELP: Final = "The credit type's id"
PLACES: Final = 6
DIGITS_MAX: Final = 30


def parse_credits(name: str, text: str) -> int:
    """Return an amount of credits in micro-credits. Raises a usage error naming the option."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise UsageError(f"{name}: {text!r} is no number of credits, such as 12.5") from None
    if not amount.is_finite() or len(text) > DIGITS_MAX:
        raise UsageError(f"{name}: {text!r} is no number of credits, such as 12.5")
    micros = amount * MICRO
    if micros != micros.to_integral_value():
        raise UsageError(f"{name}: {text} has more than {PLACES} decimals; a micro-credit is least")
    return int(micros)


def parse_price(text: str) -> pb.PricePaid:
    """Return what was paid. Raises a usage error."""
    minor, _, currency = text.partition(":")
    if not minor.isdecimal() or not currency:
        raise UsageError(f"--paid: {text!r} is not MINOR:CURRENCY, such as 1999:USD")
    return pb.PricePaid(currency=currency, amount_minor=int(minor))


def credits_text(micros: int) -> str:
    """Return micro-credits as credits: exact, without zeros at the end, thousands told apart."""
    whole, part = divmod(abs(micros), MICRO)
    decimals = f".{part:06d}".rstrip("0") if part else ""
    return f"{'-' if micros < 0 else ''}{whole:,}{decimals}"


def credits_cell(micros: int) -> Text:
    """Return micro-credits as a cell of a table."""
    return Text(credits_text(micros), justify="right")


def key_or_random(key: str) -> str:
    """Return the key that was given, else one that nobody else takes."""
    return key or f"cli-{secrets.token_hex(12)}"


def show_transaction(
    transaction: pb.LedgerTransaction, *, is_repeated: bool, as_json: bool
) -> None:
    """Print a transaction that was posted, now or when its key was first used."""
    if as_json:
        shape = message_to_json(transaction)
        print_json({"transaction": shape, "repeated_key": is_repeated})
        return
    text = transaction_view(transaction)
    print_human(
        *([Text("the key was used before; this is what it did then")] if is_repeated else [])
    )
    print_human(text)


def transaction_view(transaction: pb.LedgerTransaction) -> RenderableType:
    """Return one transaction for people."""
    usage = transaction.usage
    record = f"{usage.sidecar_id} {usage.epoch} {usage.record_number}" if usage.epoch else ""
    return facts(
        [
            ("transaction", f"{transaction.number} of {transaction.credit_type}"),
            ("kind", kind_text(transaction)),
            ("amount", credits_text(transaction.amount_micro)),
            ("occurred", format_instant(transaction.occurred_at_unix_ms)),
            ("key", transaction.key),
            ("takes back", str(transaction.reverses or "")),
            ("event key", usage.event_key),
            ("record", record),
            ("note", transaction.note),
            ("entries", entries_text(transaction)),
        ]
    )


def kind_text(transaction: pb.LedgerTransaction) -> str:
    """Return a transaction's kind as people read it."""
    label = enum_label(pb.EntryKind.DESCRIPTOR, transaction.kind) or ""
    return label.lower().replace("_", " ")


def entries_text(transaction: pb.LedgerTransaction) -> str:
    """Return what a transaction adds to which accounts."""
    signed = (
        f"{entry.account} {'+' if entry.amount_micro > 0 else ''}{credits_text(entry.amount_micro)}"
        for entry in transaction.entries
    )
    return ", ".join(signed)


def grants_view(grants: list[pb.GrantedCredits]) -> RenderableType:
    """Return grants in the order in which they burn."""
    columns = ["grant", "type", "kind", "left", "held", "of", "priority", "effective", "expires"]
    return listing_or("no grants", columns, [_grant_row(grant) for grant in grants])


def _grant_row(grant: pb.GrantedCredits) -> tuple[str | Text, ...]:
    label = enum_label(types_pb2.CreditGrantKind.DESCRIPTOR, grant.kind) or ""
    has_end = grant.HasField("expires_at_unix_ms")
    return (
        str(grant.id),
        grant.credit_type,
        label.lower(),
        credits_cell(grant.balance_micro),
        credits_cell(grant.reserved_micro),
        credits_cell(grant.amount_micro),
        str(grant.priority),
        format_instant(grant.effective_at_unix_ms),
        format_instant(grant.expires_at_unix_ms) if has_end else "never",
    )
