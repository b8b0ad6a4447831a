"""A statement as one HTML page, to be read, printed and sent: no scripts, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import groupby
from string import Template
from typing import Final

from weighbridge.cli.credit_text import credits_text
from weighbridge.cli.instants import format_instant
from weighbridge.cli.statement_view import (
    charge_text,
    money,
    period_of,
    span_text,
    state_text,
    tiers_text,
)
from weighbridge.v1 import billing_service_pb2 as pb

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Statement of $customer</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2.5rem auto;
  padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
p.about { color: #57606a; margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: #57606a; font-size: .85rem; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #d8dee4; vertical-align: top; }
.n { text-align: right; padding-right: 0; white-space: nowrap; }
small { color: #57606a; display: block; }
.total { font-size: 1.25rem; font-weight: 600; text-align: right; margin-top: 1.5rem; }
@media print { body { margin: 0; max-width: none; } }
</style>
</head>
<body>
<h1>Statement of $customer</h1>
<p class="about">Billing periods that begin in $span · $state · made $made</p>
$sections
<p class="total">Total $total</p>
</body>
</html>
""")


def statement_page(made: pb.Statement) -> str:
    """Return the page."""
    sections = [_period(made, of, list(lines)) for of, lines in groupby(made.lines, period_of)]
    if made.usage:
        sections.append(_usage(made.usage))
    if made.credits:
        sections.append(_credits(made.credits))
    return _PAGE.substitute(
        customer=escape(made.customer),
        span=span_text(made.from_unix_ms, made.to_unix_ms),
        state=escape(state_text(made)),
        made=format_instant(made.made_at_unix_ms),
        sections="\n".join(sections),
        total=escape(money(made, made.total_minor)),
    )


def _period(made: pb.Statement, of: tuple[str, int, int], lines: list[pb.StatementLine]) -> str:
    resource, start_ms, end_ms = of
    owner = f"{resource}: " if resource else ""
    rows = []
    for line in lines:
        is_usage = line.kind in {pb.CHARGE_KIND_USAGE, pb.CHARGE_KIND_PERCENTAGE}
        span = span_text(line.from_unix_ms, line.until_unix_ms)
        told = f"{escape(charge_text(line))}<small>{escape(line.plan)}, {span}</small>"
        included = f"<small>{line.included_quantity:,} included</small>" if is_usage else ""
        quantity = f"{line.quantity:,}{included}"
        rows.append((told, quantity, escape(tiers_text(line)), money(made, line.amount_minor)))
    subtotal = money(made, sum(line.amount_minor for line in lines))
    rows.append(("", "", "<strong>Sum</strong>", f"<strong>{escape(subtotal)}</strong>"))
    title = f"{owner}{span_text(start_ms, end_ms)}"
    return _table(title, ("Charge", "Quantity", "Priced", "Amount"), rows, (1, 3))


def _usage(rows: Iterable[pb.StatementUsage]) -> str:
    cells = []
    for row in rows:
        dimensions = ", ".join(f"{k}={v}" for k, v in sorted(row.dimensions.items()))
        note = "<small>no price fits</small>" if row.unmatched else ""
        told = (escape(row.feature) + note, escape(row.resource), escape(dimensions))
        cells.append((*told, f"{row.amount:,}", f"{row.calls:,}"))
    return _table("Usage", ("Feature", "Resource", "Dimensions", "Amount", "Calls"), cells, (3, 4))


def _credits(rows: Iterable[pb.StatementCredits]) -> str:
    cells = [
        (
            escape(row.credit_type),
            credits_text(row.granted_micro),
            credits_text(row.charged_micro),
            credits_text(row.overage_micro),
            credits_text(row.expired_micro),
        )
        for row in rows
    ]
    columns = ("Credits", "Granted", "Charged", "Of which overage", "Expired")
    return _table("Credits", columns, cells, (1, 2, 3, 4))


def _table(
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[tuple[str, ...]],
    numeric: tuple[int, ...],
) -> str:
    """Return a table; cells are HTML already."""
    classes = ['class="n"' if at in numeric else "" for at in range(len(columns))]
    head = "".join(f"<th {of}>{name}</th>" for of, name in zip(classes, columns, strict=True))
    body = "\n".join(
        "<tr>"
        + "".join(f"<td {of}>{cell}</td>" for of, cell in zip(classes, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<h2>{escape(title)}</h2>\n<table>\n<tr>{head}</tr>\n{body}\n</table>"
