"""Golden tables: usage and charge by published price lists, checked by hand and by fraction."""

from __future__ import annotations

import ast
from decimal import Decimal
from fractions import Fraction
from functools import cache

import pytest
from rating_values import MONTH, catalog_of, half_up, subscribed

from tests.golden_tables import EXAMPLES, GOLDEN, add_ons_of, rows, usage_of
from weighbridge.rules.catalog import Catalog, LimitKind
from weighbridge.rules.credits import (
    MICRO,
    Used,
    credit_cost,
    credits_of,
    grants_bought,
    overage_usage,
)
from weighbridge.rules.rating.charge import Charge
from weighbridge.rules.rating.prices import Price, Proration
from weighbridge.rules.rating.proration import change_terms
from weighbridge.rules.rating.rate import rate_terms
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.revenue_share import split

catalog_named = cache(catalog_of)


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


def paid_with_credits(name: str, row: dict[str, str]) -> tuple[int, int, Charge]:
    """Return what the usage costs in micro-credits, what is granted, and what is due in money."""
    catalog, seats, bought = catalog_named(name), int(row["seats"]), add_ons_of(row["add_ons"])
    plan = catalog.plan(row["plan"])
    assert plan is not None
    (credit_type,) = catalog.credit_types.values()
    used = [Used(each.feature, each.quantity, each.dimensions) for each in usage_of(row["usage"])]
    cost = credit_cost(credit_type, used)
    added = [(catalog.add_ons[id_].credit_grants, pieces) for id_, pieces in bought.items()]
    granted = sum(each.micro for each in grants_bought(plan.credit_grants, added, seats))
    draws = {plan.entitlements[each.feature].credit for each in used}
    goes_on = all(draw is not None and draw.kind is LimitKind.SOFT for draw in draws)
    past = max(0, cost - granted) if goes_on else 0
    terms = subscribed(catalog, row["plan"], seats, bought)
    return cost, granted, rate_terms(terms, [overage_usage(credit_type.id, past)], MONTH)


@pytest.mark.parametrize(
    ("name", "row"),
    rows("in_credits"),
    ids=lambda v: v["usage"] if isinstance(v, dict) else v,
)
def test_usage_costs_the_credits_that_a_person_works_out(name: str, row: dict[str, str]) -> None:
    cost, granted, charge = paid_with_credits(name, row)
    exact = by_hand(row["by_hand"]) * MICRO
    assert cost == -(-exact.numerator // exact.denominator)
    assert credits_of(cost) == Decimal(row["credits"])
    assert credits_of(granted) == Decimal(row["granted"])
    assert charge.total == Decimal(row["charged"])
    assert by_hand(row["charge_by_hand"]) == Fraction(row["charged"])


def test_every_cost_of_the_examples_is_in_a_table() -> None:
    used = {
        (name, each.feature) for name, row in rows("in_credits") for each in usage_of(row["usage"])
    }
    for name in ("credits", "hybrid"):
        for credit_type in catalog_named(name).credit_types.values():
            features = set(credit_type.costs)
            assert features == {feature for found, feature in used if found == name}


@pytest.mark.parametrize(
    ("name", "row"),
    rows("shares"),
    ids=lambda v: f"{v['app']} {v['amount']}" if isinstance(v, dict) else v,
)
def test_a_sale_is_parted_as_a_person_works_out(name: str, row: dict[str, str]) -> None:
    app = catalog_named(name).partner_apps[row["app"]]
    (share,) = [each for each in app.shares if each.base.value == row["of"]]
    minor = [int(Decimal(row[key]) * 100) for key in ("amount", "volume")]
    parted = split(share, *minor, int(row["transactions"]))
    assert parted.platform_minor == half_up(by_hand(row["by_hand"]), 2)
    assert Decimal(parted.platform_minor) / 100 == Decimal(row["platform"])
    assert Decimal(parted.partner_minor) / 100 == Decimal(row["partner"])


def test_every_share_of_the_examples_is_in_a_table() -> None:
    shared = {(row["app"], row["of"]) for _, row in rows("shares")}
    apps = catalog_named("revenue_share").partner_apps.values()
    assert shared == {(app.id, share.base.value) for app in apps for share in app.shares}


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
    for name, row in rows("in_credits"):
        _, _, charge = paid_with_credits(name, row)
        catalog = catalog_named(name)
        for line in charge.lines:
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
    granted = sum(each.micro for each in grants_bought(plan.credit_grants, (), 1))
    assert credits_of(granted) - 1_400 == 5_600


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
    for path in GOLDEN.rglob("*.csv"):
        header = path.read_text("utf-8").splitlines()[0].split(",")
        assert all(f"`{column}`" in described for column in header)
    files = [path for path in GOLDEN.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix not in (".csv", ".yaml", ".md")]
