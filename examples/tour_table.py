"""The tour's tables: what was asked, what was expected, what came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tour_steps import MODELS, Expected, Step, Subscriber

TITLE_OF_CATALOG: Final = {catalog: title for title, catalog, _ in MODELS}
COLUMNS: Final = ("the application asks", "expected", "got", "upgrade hint")


class Row(NamedTuple):
    """One line. `title` says of which model and customer it is."""

    title: str
    what: str
    expected: str
    got: str
    upgrade: str = ""
    offer: str = ""
    is_ok: bool = False


def rows_of(
    subscribers: Iterable[Subscriber], steps: Iterable[Step], outcomes: Sequence[dict[str, Any]]
) -> Iterator[Row]:
    """Compare each step with its outcome; a step without one failed."""
    titles = {
        each.customer: f"{TITLE_OF_CATALOG[each.catalog]}: {each.customer} on {each.plan}"
        for each in subscribers
    }
    answers = iter(outcomes)
    for step in steps:
        outcome = next(answers, {})
        upgrades = outcome.get("upgrades", {})
        shown = (
            step.expected.upgrade
            if step.expected.upgrade in upgrades
            else min(upgrades, default="")
        )
        yield Row(
            title=titles[step.customer],
            what=step.what,
            expected=_text(step.expected.allowed, step.expected.reason, step.expected.overage),
            got=_text(outcome["allowed"], outcome.get("reason", ""), outcome["overage"])
            if outcome
            else "no answer",
            upgrade=f"{shown} +{len(upgrades) - 1}" if len(upgrades) > 1 else shown,
            offer=upgrades.get(shown, ""),
            is_ok=_is_as_expected(step.expected, outcome),
        )


def _text(is_allowed: bool, reason: str, overage: int) -> str:  # noqa: FBT001 (a private formatter)
    if not is_allowed:
        return reason
    return f"allowed, {overage:,} over" if overage else "allowed"


def _is_as_expected(expected: Expected, outcome: dict[str, Any]) -> bool:
    if not outcome or outcome["allowed"] != expected.allowed:
        return False
    if expected.allowed:
        return bool(outcome["overage"] == expected.overage)
    return outcome["reason"] == expected.reason and expected.upgrade in outcome["upgrades"]


def print_tables(console: Console, rows: Sequence[Row]) -> None:
    """Print the rows by model and customer, and of which models only a part is enforced."""
    widths = [max(len(row[column]) for row in rows) for column in range(1, 1 + len(COLUMNS))]
    for index, (title, group) in enumerate(groupby(rows, key=lambda row: row.title)):
        members = list(group)
        # Every table has the same columns, so that they read as one.
        table = Table(box=None, show_header=index == 0, pad_edge=False, header_style="dim")
        for name, width in zip(COLUMNS, widths, strict=True):
            table.add_column(name, min_width=min(width, 34), overflow="fold")
        table.add_column("", width=2)
        for row in members:
            mark = Text("ok", style="green") if row.is_ok else Text("NO", style="bold red")
            table.add_row(row.what, row.expected, row.got, row.upgrade, mark)
        console.print(f"\n[bold]{title}[/bold]")
        console.print(Padding(table, (0, 0, 0, 2)))
        for offer in dict.fromkeys(row.offer for row in members if row.offer):
            console.print(Padding(Text(f"offer shown: {offer}", style="dim"), (0, 0, 0, 2)))
    console.print()
    for title, _, note in MODELS:
        if note:
            console.print(f"{title}: shows only what is enforced so far: {note}.", style="yellow")
