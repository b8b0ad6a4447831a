"""Golden tables: usage and charge by published price lists, checked by hand and by fraction."""

from __future__ import annotations

import ast
import csv
import re
from decimal import Decimal
from fractions import Fraction
from functools import cache

import pytest
from rating_values import EXAMPLES, GOLDEN, MONTH, catalog_of, subscribed

from weighbridge.rules.catalog import Catalog
from weighbridge.rules.rating.prices import Price, Proration
from weighbridge.rules.rating.proration import change_terms
from weighbridge.rules.rating.rate import rate_terms
from weighbridge.rules.rating.usage import Usage

_USAGE = re.compile(r"([a-z_.]+)(?:\{([^}]*)\})?=([0-9]+)")

catalog_named = cache(catalog_of)


def rows() -> list[tuple[str, dict[str, str]]]:
    found = []
    for path in sorted(GOLDEN.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += [(path.stem, row) for row in csv.DictReader(file)]
    return found


def usage_of(text: str) -> list[Usage]:
    used = []
    for part in filter(None, re.split(r";", text)):
        match = _USAGE.fullmatch(part)
        assert match, part
        pairs = [pair.split("=") for pair in (match[2] or "").split(",") if pair]
        dimensions = tuple(sorted((name, value) for name, value in pairs))
        used.append(Usage(match[1], int(match[3]), dimensions))
    return used


def add_ons_of(text: str) -> dict[str, int]:
    pairs = [part.partition("*") for part in filter(None, text.split(";"))]
    return {add_on: int(pieces or 1) for add_on, _, pieces in pairs}


def by_hand(text: str) -> Fraction:
    """Work a sum out with fractions."""
    return _value(ast.parse(text, mode="eval").body, text)


def _value(node: ast.expr, text: str) -> Fraction:
    if isinstance(node, ast.Constant):
        # From the digits as written, not from the float that Python makes of them.
        return Fraction(ast.get_source_segment(text, node) or "")
    assert isinstance(node, ast.BinOp), ast.dump(node)
    left, right = _value(node.left, text), _value(node.right, text)
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case _:
            assert isinstance(node.op, ast.Div)
            return left / right


@pytest.mark.parametrize(
    ("name", "row"), rows(), ids=lambda v: v["usage"] or v["plan"] if isinstance(v, dict) else v
)
def test_a_published_list_charges_what_a_person_works_out(name: str, row: dict[str, str]) -> None:
    terms = subscribed(
        catalog_named(name), row["plan"], int(row["seats"]), add_ons_of(row["add_ons"])
    )
    charge = rate_terms(terms, usage_of(row["usage"]), MONTH)
    exact = sum((line.amount for line in charge.lines), Decimal(0))
    assert by_hand(row["by_hand"]) == Fraction(row["exact"])
    assert exact == Decimal(row["exact"])
    assert charge.total == Decimal(row["charged"])
    assert charge.unmatched == ()


def test_every_example_with_prices_has_a_table() -> None:
    priced = {path.stem for path in EXAMPLES.glob("*.yaml") if _has_prices(catalog_of(path.stem))}
    assert priced == {path.stem for path in EXAMPLES.glob("*.yaml")}
    assert priced | {"other_lists"} == {path.stem for path in GOLDEN.glob("*.csv")}


def _has_prices(catalog: Catalog) -> bool:
    return any(plan.prices for versions in catalog.plans.values() for plan in versions.values())


def test_every_price_of_the_examples_is_in_a_table() -> None:
    charged = set()
    for name, row in rows():
        catalog = catalog_named(name)
        add_ons = add_ons_of(row["add_ons"])
        terms = subscribed(catalog, row["plan"], int(row["seats"]), add_ons)
        for line in rate_terms(terms, usage_of(row["usage"]), MONTH).lines:
            add_on = line.origin.add_on
            prices = catalog.add_ons[add_on].prices if add_on else prices_of(catalog, row["plan"])
            charged |= {(name, price) for price in prices if price.key == line.origin.key}
    for name in {name for name, _ in rows()}:
        catalog = catalog_named(name)
        plans = [price for plan in catalog.plans for price in prices_of(catalog, plan)]
        bought = [price for add_on in catalog.add_ons.values() for price in add_on.prices]
        assert not [price.key for price in (*plans, *bought) if (name, price) not in charged], name


def prices_of(catalog: Catalog, plan_id: str) -> tuple[Price, ...]:
    plan = catalog.plan(plan_id)
    assert plan is not None
    return plan.prices


def test_a_marketplace_share_leaves_the_partner_the_rest() -> None:
    charge = rate_terms(
        subscribed(catalog_named("revenue_share"), "checkout"),
        [Usage("marketplace.sales", 10_000)],
        MONTH,
    )
    assert (charge.total_minor, 10_000 - charge.total_minor) == (1_530, 8_470)


def test_an_upgrade_pays_the_difference_and_keeps_what_was_used() -> None:
    catalog = catalog_named("hybrid")
    pro, pro_plus = subscribed(catalog, "pro"), subscribed(catalog, "pro_plus")
    plan = catalog.plan("pro_plus")
    assert plan is not None
    assert plan.proration is Proration.DIFFERENCE
    change = change_terms(pro, pro_plus, MONTH, MONTH.start_ms + 12_345_678, plan.proration)
    assert change.total_minor == 2_900
    # 1,400 of 1,500 were used on Pro: of the 7,000 of Pro+, 5,600 are left.
    within = rate_terms(pro_plus, [Usage("ai.credits", 5_600, carried=1_400)], MONTH)
    beyond = rate_terms(pro_plus, [Usage("ai.credits", 5_601, carried=1_400)], MONTH)
    assert within.total_minor == 3_900
    assert beyond.total_minor == 3_901


def test_lines_are_rounded_apart_so_the_sum_can_differ_from_the_rounded_sum() -> None:
    model = (("model", "gpt-5-mini"),)
    charge = rate_terms(
        subscribed(catalog_named("credits"), "scale"),
        [
            Usage("llm.input_tokens", 90_695_412, model),
            Usage("llm.cached_input_tokens", 54_098_411, model),
            Usage("llm.output_tokens", 4_122_048, model),
        ],
        MONTH,
    )
    assert [line.amount for line in charge.lines] == [
        Decimal("22.673853"),
        Decimal("1.352460275"),
        Decimal("8.244096"),
    ]
    assert [line.minor for line in charge.lines] == [2_267, 135, 824]
    assert charge.total == Decimal("32.26")


def test_the_tables_are_described() -> None:
    described = (GOLDEN / "README.md").read_text("utf-8")
    for path in GOLDEN.glob("*.csv"):
        header = path.read_text("utf-8").splitlines()[0].split(",")
        assert all(f"`{column}`" in described for column in header)
    assert not [path for path in GOLDEN.iterdir() if path.suffix not in (".csv", ".yaml", ".md")]
