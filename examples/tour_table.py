"""The tour's table: what was asked, what was expected, what came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tour_steps import MODELS, SUBSCRIBERS, Expected, Step

UPGRADES_SHOWN: Final = 2
MODEL_OF_CATALOG: Final = {catalog: title for title, catalog, _ in MODELS}
MODEL_OF_CUSTOMER: Final = {
    subscriber.customer: MODEL_OF_CATALOG[subscriber.catalog] for subscriber in SUBSCRIBERS
}


class Row(NamedTuple):
    """One line of the table."""

    model: str
    customer: str
    what: str
    expected: str
    got: str
    is_ok: bool


def rows_of(steps: Iterable[Step], outcomes: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Compare each step with its outcome; a step without one failed."""
    answers = iter(outcomes)
    for step in steps:
        outcome = next(answers, {})
        yield Row(
            model=MODEL_OF_CUSTOMER[step.customer],
            customer=step.customer,
            what=step.what,
            expected=_expected_text(step.expected),
            got=_got_text(outcome),
            is_ok=_is_as_expected(step.expected, outcome),
        )


def _is_as_expected(expected: Expected, outcome: dict[str, Any]) -> bool:
    if not outcome or outcome["allowed"] != expected.allowed:
        return False
    if expected.allowed:
        return bool(outcome["overage"] == expected.overage)
    return outcome["reason"] == expected.reason and expected.upgrade in outcome["upgrades"]


def _expected_text(expected: Expected) -> str:
    if not expected.allowed:
        return f"refused: {expected.reason}, upgrade {expected.upgrade}"
    return f"allowed, {expected.overage:,} of it overage" if expected.overage else "allowed"


def _got_text(outcome: dict[str, Any]) -> str:
    if not outcome:
        return "no answer"
    if outcome["allowed"]:
        return f"allowed, {outcome['overage']:,} of it overage" if outcome["overage"] else "allowed"
    upgrades = outcome["upgrades"]
    more = ", ..." if len(upgrades) > UPGRADES_SHOWN else ""
    text = f"refused: {outcome['reason']}, upgrade {', '.join(upgrades[:UPGRADES_SHOWN])}{more}"
    return f"{text}\n“{outcome['offer']}”" if outcome["offer"] else text


def print_table(console: Console, rows: Iterable[Row]) -> None:
    """Print the rows, a section per model, and say of which models only a part is enforced."""
    table = Table(box=box.SIMPLE_HEAD, title="Weighbridge, a tour", title_justify="left")
    for column in ("model", "customer", "what the application asked", "expected", "got", ""):
        table.add_column(column, overflow="fold")
    last = ""
    for row in rows:
        if row.model != last and last:
            table.add_section()
        table.add_row(
            Text(row.model if row.model != last else "", style="bold"),
            row.customer,
            row.what,
            row.expected,
            Text(row.got),
            Text("ok", style="green") if row.is_ok else Text("NOT OK", style="bold red"),
        )
        last = row.model
    console.print(table)
    for title, _, note in MODELS:
        if note:
            console.print(f"{title}: only what is enforced so far: {note}", style="yellow")
