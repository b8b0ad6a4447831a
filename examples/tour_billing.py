"""What the tour's customers are billed: usage of each model, its statement, and its export.

Plans, usage and amounts are rows of the golden tables in `tests/rating/golden`, where each is
worked out by hand from the published price list.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from tour_admin import ControlPlane, Usage
from tour_steps import Subscriber
from tour_table import Row

from weighbridge import SyncClient

EXPORTER: Final = "tour"
TITLE: Final = "billing: what each model's usage is charged, and its export"


class Billed(NamedTuple):
    """A customer, what it uses as (feature, dimensions, units), and what it owes, in USD."""

    subscriber: Subscriber
    usage: tuple[tuple[str, dict[str, str], int], ...]
    charged: str


BILLED: Final = (
    Billed(
        Subscriber("billed-maps", "pay_per_use", "pay_as_you_go"),
        (("maps.dynamic_loads", {}, 600_000),),
        "3290.00",
    ),
    Billed(
        Subscriber("billed-desk", "subscription_tiers", "suite_team", {"agent_team": 9}, seats=10),
        (("automated.resolutions", {}, 80),),
        "750.00",
    ),
    Billed(
        Subscriber("billed-login", "freemium", "essentials"),
        (("users.monthly", {}, 700),),
        "35.00",
    ),
    Billed(
        Subscriber("billed-llm", "credits", "scale"),
        (
            ("llm.input_tokens", {"model": "gpt-4o"}, 1_500_000),
            ("llm.output_tokens", {"model": "gpt-4o"}, 250_000),
        ),
        "6.25",
    ),
    Billed(
        Subscriber("billed-market", "revenue_share", "isvforce"),
        (("marketplace.sales", {}, 5_000_000),),
        "7500.00",
    ),
    Billed(
        Subscriber("billed-code", "hybrid", "pro"),
        (("ai.output_tokens", {"model": "gpt-5-mini"}, 10_000_000),),
        "15.00",
    ),
)


def exports_file(directory: Path) -> Path:
    """Write the configuration of an exporter into files, and return where it is."""
    path = directory / "exports.yaml"
    path.write_text(
        f"exporters: [{{id: {EXPORTER}, kind: files, folder: {directory / 'exports'}}}]\n",
        encoding="utf-8",
    )
    return path


def use(sidecar: str) -> Usage:
    """Report what was used; returns it by (customer, feature)."""
    used: Usage = Counter()
    with SyncClient(sidecar) as client:
        for each in BILLED:
            customer = each.subscriber.customer
            for feature, dimensions, units in each.usage:
                client.report(customer, feature, units, dimensions=dimensions)
                used[customer, feature] += units
    return used


def billing_rows(control_plane: ControlPlane, directory: Path) -> list[Row]:
    """Compare statements with the golden amounts, and export everything; twice."""
    rows = [_statement_row(control_plane, each) for each in BILLED]
    first = control_plane.export(EXPORTER)
    again = control_plane.export(EXPORTER)
    exported = _exported(directory / "exports")
    expected = sum(units for each in BILLED for _, _, units in each.usage)
    rows.append(
        Row(
            title=TITLE,
            what=f"export run {EXPORTER} --include-open, twice",
            expected=f"{expected:,} units of them, nothing new the second time",
            got=f"{exported:,} units in {first} items, then {again} items",
            is_ok=exported == expected and first > 0 and again == 0,
        )
    )
    return rows


def _statement_row(control_plane: ControlPlane, billed: Billed) -> Row:
    customer, plan = billed.subscriber.customer, billed.subscriber.plan
    got = control_plane.statement_total(customer)
    return Row(
        title=TITLE,
        what=f"statement {customer} ({plan})",
        expected=f"{billed.charged} USD",
        got=f"{got} USD",
        is_ok=got == billed.charged,
    )


def _exported(folder: Path) -> int:
    customers = {each.subscriber.customer for each in BILLED}
    units = 0
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            units += sum(
                int(row["quantity"]) for row in csv.DictReader(file) if row["customer"] in customers
            )
    return units
