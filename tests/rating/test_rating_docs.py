"""What docs/rating.md states is so: its modules, its example, its names."""

from __future__ import annotations

import ast
import re
from decimal import Decimal
from pathlib import Path

from rating_values import MONTH, calls, flat, of_usage, per_unit, table

from weighbridge.rules.rating import money, rounding
from weighbridge.rules.rating.prices import Proration
from weighbridge.rules.rating.rate import rate
from weighbridge.rules.rating.tiers import TierMode

DOCS = (Path(__file__).parents[2] / "docs" / "rating.md").read_text("utf-8")
RATING = Path(money.__file__).parent


def test_every_module_that_others_use_is_named() -> None:
    internal = {"__init__", "fees", "metered", "guarantees"}
    for path in RATING.glob("*.py"):
        assert path.stem in internal or f"`{path.stem}`" in DOCS


def test_every_name_in_a_call_exists() -> None:
    defined = set()
    for path in (*RATING.glob("*.py"), *RATING.parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [each.arg for each in node.args.args]
                defined.add(f"{node.name}({', '.join(arguments)})")
    for call in re.findall(r"`([a-z_]+\([a-z_, ]+\))`", DOCS):
        assert call in defined


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    plan = type("Plan", (), {"prices": (flat("15"), of_usage(per_unit("0.40", 1000), "mails"))})
    names = {"plan": plan, "start_ms": MONTH.start_ms, "end_ms": MONTH.end_ms}
    exec(compile(code, "rating.md", "exec"), names)
    charge = names["charge"]
    assert charge.total == Decimal("39.80")  # type: ignore[attr-defined]


def test_the_stated_figures_are_those_of_the_code() -> None:
    digits = len(str(money.PRICE_MAX)) - 1
    assert f"{digits} digits before the point and {money.PLACES_MAX} behind it" in " ".join(
        DOCS.split()
    )
    assert f"shows {rounding.SHOWN_DIGITS} digits" in DOCS
    assert all(f"| `{each.value}` |" in DOCS for each in Proration)


def test_a_volume_tier_is_chosen_with_what_was_carried() -> None:
    price = of_usage(table(TierMode.VOLUME, (100, "0.10", "0"), (None, "0.05", "0")))
    assert rate((price,), [calls(10, carried=95)], 1, MONTH).total == Decimal("0.50")
