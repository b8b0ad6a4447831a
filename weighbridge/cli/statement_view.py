"""Statements as tables."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby

from rich.table import Table
from rich.text import Text

from weighbridge.cli.credit_text import credits_cell
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import facts, listing, number, print_human, titled
from weighbridge.v1 import billing_service_pb2 as pb


def money(of: pb.Statement, minor: int) -> str:
    """Return an amount in minor units as people write it, such as `32.26 USD`."""
    amount = Decimal(minor).scaleb(-of.exponent)
    return f"{amount:,.{of.exponent}f} {of.currency}".rstrip()


def charge_text(line: pb.StatementLine) -> str:
    """Say what a line charges for."""
    kind = (enum_label(pb.ChargeKind.DESCRIPTOR, line.kind) or "charge").replace("_", " ")
    what = line.feature or line.price
    match = ", ".join(f"{name}={value}" for name, value in sorted(line.match.items()))
    owner = f"add-on {line.add_on}: " if line.add_on else ""
    told = f"{owner}{what}" + (f" ({match})" if match else "")
    return told if kind in {"usage", "percentage"} else f"{told}, {kind}"


def tiers_text(line: pb.StatementLine) -> str:
    """Say how units were priced: `90,000 at 7 per 1,000`."""
    parts = []
    for tier in line.tiers:
        per = f" per {tier.per:,}" if tier.per != 1 else ""
        flat = f" + {tier.flat}" if Decimal(tier.flat) else ""
        parts.append(f"{tier.units:,} at {tier.unit_price}{per}{flat}")
    return ", ".join(parts)


def span_text(from_ms: int, until_ms: int) -> str:
    """Return a span of time: days where it begins and ends with one."""
    start, end = format_instant(from_ms), format_instant(until_ms)
    if start.endswith("00:00:00Z") and end.endswith("00:00:00Z"):
        return f"{start[:10]} to {end[:10]}"
    return f"{start} to {end}"


def period_of(line: pb.StatementLine) -> tuple[str, int, int]:
    """Return whose line it is, and the billing period."""
    return line.resource, line.period_start_unix_ms, line.period_end_unix_ms


def state_text(made: pb.Statement) -> str:
    """Say what kind of statement it is."""
    if made.number > 1:
        return f"correction {made.number - 1} of a closed statement"
    if made.number:
        return "closed"
    return "final" if made.final else "provisional: a billing period still runs"


def show_statement(made: pb.Statement) -> None:
    """Print a statement."""
    print_human(
        facts(
            [
                ("customer", made.customer),
                ("periods that begin in", span_text(made.from_unix_ms, made.to_unix_ms)),
                ("made", format_instant(made.made_at_unix_ms)),
                ("state", state_text(made)),
            ]
        )
    )
    for (resource, start_ms, end_ms), lines in groupby(made.lines, period_of):
        owner = f"{resource}: " if resource else ""
        table = listing(
            ["charge", "plan", "span", "quantity", "included", "priced", "amount"],
            [_line_row(made, line) for line in lines],
        )
        print_human(titled(f"{owner}{span_text(start_ms, end_ms)}", table))
    if made.usage:
        print_human(titled("Usage", _usage(made.usage)))
    if made.credits:
        print_human(titled("Credits", _credits(made.credits)))
    print_human(facts([("total", Text(money(made, made.total_minor), style="bold"))]))


def _line_row(made: pb.Statement, line: pb.StatementLine) -> tuple[str | Text, ...]:
    is_usage = line.kind in {pb.CHARGE_KIND_USAGE, pb.CHARGE_KIND_PERCENTAGE}
    return (
        charge_text(line),
        f"{line.plan} v{line.plan_version}",
        span_text(line.from_unix_ms, line.until_unix_ms),
        number(line.quantity),
        number(line.included_quantity) if is_usage else "",
        tiers_text(line),
        Text(money(made, line.amount_minor), justify="right"),
    )


def _usage(rows: Iterable[pb.StatementUsage]) -> Table:
    return listing(
        ["resource", "feature", "dimensions", "amount", "calls", ""],
        [
            (
                row.resource,
                row.feature,
                ", ".join(f"{k}={v}" for k, v in sorted(row.dimensions.items())),
                number(row.amount),
                number(row.calls),
                "no price fits" if row.unmatched else "",
            )
            for row in rows
        ],
    )


def _credits(rows: Iterable[pb.StatementCredits]) -> Table:
    return listing(
        ["type", "granted", "charged", "of which overage", "expired"],
        [
            (
                row.credit_type,
                *(
                    credits_cell(micro)
                    for micro in (
                        row.granted_micro,
                        row.charged_micro,
                        row.overage_micro,
                        row.expired_micro,
                    )
                ),
            )
            for row in rows
        ],
    )
