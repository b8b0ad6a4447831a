"""Statements of the example catalogs equal the golden tables, through database and history."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.billed import DAY_MS, END_MS, Billed
from tests.golden_tables import add_ons_of, catalog_path, rows, usage_of

NAMES = ("credits", "freemium", "hybrid", "pay_per_use", "revenue_share", "subscription_tiers")


@pytest.mark.parametrize("name", [*NAMES, "other_lists"])
def test_statements_equal_the_golden_table(billed: Billed, name: str) -> None:
    billed.apply(catalog_path(name).read_text("utf-8"))
    told = [row for found, row in rows() if found == name]
    for number, row in enumerate(told):
        customer = f"c{number}"
        billed.create(customer)
        billed.subscribe(
            customer, row["plan"], add_ons_of(row["add_ons"]), quantity=int(row["seats"])
        )
        for position, each in enumerate(usage_of(row["usage"])):
            at_ms = billed.now_ms + (position + 1) * DAY_MS
            billed.use(customer, each.feature, each.quantity, at_ms, **dict(each.dimensions))
    billed.now_ms = END_MS
    for number, row in enumerate(told):
        made = billed.statement(f"c{number}", currency="USD")
        total = 0 if made.currency is None else made.currency.major(made.total_minor)
        assert total == Decimal(row["charged"]), row
        assert made.is_final
