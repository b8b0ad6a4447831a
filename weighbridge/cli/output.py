"""What is printed: tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from weighbridge.cli.json_shapes import JsonObject

# A pipe has no width: cells must come whole, not cut to 80 columns.
_PIPE_WIDTH: Final = 400


def screen(*, to_stderr: bool = False) -> Console:
    """Return a console that prints text as it is: ids and names are not markup."""
    file = sys.stderr if to_stderr else sys.stdout
    width = None if file.isatty() else _PIPE_WIDTH
    return Console(
        file=file, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False
    )


def print_json(document: JsonObject) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_human(*parts: RenderableType) -> None:
    """Print tables and texts for people."""
    console = screen()
    for part in parts:
        console.print(part)


def plain(text: str) -> str:
    """Return a text without what could steer a terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def number(amount: int) -> Text:
    """Return an amount with thousands told apart."""
    return Text(f"{amount:,}", justify="right")


def listing(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table with a row per thing."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def titled(title: str, table: Table) -> Group:
    """Return a table under a line of its own: rich would fold a title to the table's width."""
    return Group(Text(plain(title), style="bold"), table)


def listing_or(
    nothing: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]
) -> RenderableType:
    """Return a table, or what to say where there are no rows."""
    return listing(columns, rows) if rows else Text(nothing, style="dim")


def facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Return a table of one thing: a name and a value a line, lines without a value left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        if value:
            table.add_row(name, plain(value) if isinstance(value, str) else value)
    return table
