"""Exact decimals, currencies and the one rounding; nothing takes a float."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from decimal import Decimal, Inexact
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rating_values import BHD, JPY, USD, half_up

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating import money, rounding
from weighbridge.rules.rating.money import Currency, exact, plain, require_price
from weighbridge.rules.rating.period import Share
from weighbridge.rules.rating.prices import (
    CommitmentPrice,
    FeePercentagePrice,
    FlatPrice,
    MinimumPrice,
    PercentagePrice,
)
from weighbridge.rules.rating.rounding import Quotient
from weighbridge.rules.rating.tiers import Package, Tier, TierMode, TierTable, UnitRate
from weighbridge.rules.rating.usage import Usage

RATING = Path(money.__file__).parent
FIELDS: dict[str, Callable[[Any], object]] = {
    "flat": lambda v: FlatPrice(key="k", currency=USD, amount=v),
    "per_unit": UnitRate,
    "package": lambda v: Package(v, 10),
    "tier unit": lambda v: Tier(None, v),
    "tier flat": lambda v: Tier(None, Decimal(1), v),
    "minimum": lambda v: MinimumPrice(key="k", currency=USD, amount=v),
    "commitment": lambda v: CommitmentPrice(key="k", currency=USD, amount=v),
    "percent": lambda v: PercentagePrice(key="k", currency=USD, percent=v, feature="f"),
    "flat of a percentage": lambda v: PercentagePrice(
        key="k", currency=USD, percent=Decimal(1), feature="f", flat=v
    ),
    "cap": lambda v: PercentagePrice(key="k", currency=USD, percent=Decimal(1), feature="f", cap=v),
    "percent of fees": lambda v: FeePercentagePrice(key="k", currency=USD, percent=v),
}
COUNTS: dict[str, Callable[[Any], object]] = {
    "per": lambda v: UnitRate(Decimal(1), v),
    "size": lambda v: Package(Decimal(1), v),
    "up_to": Tier,
    "per of a table": lambda v: TierTable(TierMode.VOLUME, (Tier(None),), v),
    "usage": lambda v: Usage("f", v),
    "carried": lambda v: Usage("f", 1, carried=v),
    "transactions": lambda v: Usage("f", 1, transactions=v),
    "exponent": lambda v: Currency("USD", v),
}
AMOUNTS = st.decimals(0, 10**9, allow_nan=False, places=9) | st.decimals(0, 100, places=2)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [0.1, 1.0, 1, True, "1", None, Fraction(1, 3)])
def test_only_a_decimal_is_a_price(field: str, value: Any) -> None:
    if field == "cap" and value is None:
        return
    with pytest.raises(InvalidArgumentError, match="is not a Decimal"):
        FIELDS[field](value)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("-0.01", "-0.01 is negative"),
        ("1000000000000001", "is too large"),
        ("0.0000000000000000001", "has 19 decimal places; at most 18"),
        ("NaN", "is not a number"),
        ("sNaN", "is not a number"),
        ("Infinity", "is not a number"),
    ],
)
def test_a_price_is_a_number_in_its_range(field: str, value: str, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        FIELDS[field](Decimal(value))


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", [1.0, True, "1", Decimal(1), -1, 10**19])
def test_only_an_integer_in_its_range_is_a_count(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        COUNTS[field](value)


@pytest.mark.parametrize("code", ["usd", "US", "USDT", "", "U1D", "ÄÖÜ"])
def test_a_currency_has_a_code(code: str) -> None:
    with pytest.raises(InvalidArgumentError, match="currency"):
        Currency(code, 2)


def test_no_module_of_rating_knows_a_float() -> None:
    paths = sorted(RATING.glob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            is_float = isinstance(node, ast.Constant) and isinstance(node.value, float)
            assert not is_float, f"{path.name}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.Name) and node.id in ("float", "round"))


def test_only_the_rounding_module_rounds() -> None:
    for path in RATING.glob("*.py"):
        text = path.read_text("utf-8")
        names = [name for name in ("ROUND_", "quantize", "//", "to_integral") if name in text]
        assert not names or path.name in ("rounding.py", "tiers.py"), (path.name, names)
    # Packages are counted by whole division, units by units; no money is.
    text = (RATING / "tiers.py").read_text("utf-8")
    assert text.count("//") == text.count("return -(-units // self.size)") == 1


def test_within_exact_nothing_is_lost_and_no_float_is_met() -> None:
    with exact():
        assert Decimal(1) / 8 == Decimal("0.125")
        with pytest.raises(Inexact):
            Decimal(1) / 3
        with pytest.raises(Exception, match="FloatOperation"):
            assert Decimal(1) < 1.5


@given(AMOUNTS, st.integers(1, 10**12), st.sampled_from([JPY, USD, BHD]))
@example(Decimal("0.005"), 1, USD)
@example(Decimal("0.015"), 1, USD)
@example(Decimal("0.0049999999"), 1, USD)
@example(Decimal("0.5"), 1, JPY)
@example(Decimal(1), 200, USD)
def test_rounding_is_half_up_from_the_exact_quotient(
    amount: Decimal, divisor: int, currency: Currency
) -> None:
    rounded = Quotient(amount, divisor).rounded(currency)
    value = Fraction(amount) / divisor
    assert rounded == half_up(value, currency.exponent)
    assert abs(Fraction(currency.major(rounded)) - value) * 2 <= Fraction(1, 10**currency.exponent)
    assert Quotient(-amount, divisor).rounded(currency) == -rounded


@given(AMOUNTS, st.integers(1, 10**12))
def test_a_quotient_is_shown_exactly_where_it_ends(amount: Decimal, divisor: int) -> None:
    shown = Quotient(amount, divisor).shown()
    value = Fraction(amount) / divisor
    rest = value.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    if rest == 1:
        assert Fraction(shown) == value
    else:
        assert abs(Fraction(shown) - value) <= value / 10 ** (rounding.SHOWN_DIGITS - 1)


@given(st.integers(-(10**18), 10**18), st.sampled_from([JPY, USD, BHD]))
def test_minor_units_and_back(minor: int, currency: Currency) -> None:
    assert Quotient(currency.major(minor)).rounded(currency) == minor
    assert Fraction(currency.major(minor)) == Fraction(minor, 10**currency.exponent)


@given(AMOUNTS)
def test_a_plain_text_is_the_number(amount: Decimal) -> None:
    text = plain(amount)
    assert Decimal(text) == amount
    assert "E" not in text.upper()
    assert not (text.endswith(("0", ".")) and "." in text)


def test_zeros_and_exponents_are_no_difference() -> None:
    assert require_price("p", Decimal("1.50")) == require_price("p", Decimal("15E-1"))
    assert plain(Decimal("1E+3")) == "1000"
    assert FlatPrice(key="k", currency=USD, amount=Decimal("10.00")) == FlatPrice(
        key="k", currency=USD, amount=Decimal(10)
    )


@pytest.mark.parametrize(("part", "whole"), [(2, 1), (-1, 1), (0, 0), (1, 0)])
def test_a_share_is_a_part_of_a_whole(part: int, whole: int) -> None:
    with pytest.raises(InvalidArgumentError, match="share"):
        Share(part, whole)


def test_values_are_immutable() -> None:
    price = FlatPrice(key="k", currency=USD, amount=Decimal(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        price.amount = Decimal(2)  # type: ignore[misc]
