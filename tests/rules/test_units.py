"""Amounts, ids and texts: the border of what is valid, and errors that name the field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules import errors
from weighbridge.rules.errors import InvalidArgumentError, WeighbridgeError
from weighbridge.rules.units import (
    AMOUNT_MAX,
    ID_LENGTH_MAX,
    is_id,
    require_amount,
    require_id,
    require_optional_id,
    require_text,
)

ID_CHARACTERS = "abcXYZ019._:@/-"


@given(st.text(alphabet=ID_CHARACTERS, min_size=1, max_size=ID_LENGTH_MAX))
def test_ids_pass(text: str) -> None:
    assert is_id(text)
    assert require_id("customer", text) == text
    assert require_optional_id("customer", text) == text


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "a\n", "\n", "ä", "a\x00", "٣", "a" * (ID_LENGTH_MAX + 1), "a" * 2**20]
)
def test_what_is_no_id_is_refused_by_name(text: str) -> None:
    assert not is_id(text)
    with pytest.raises(InvalidArgumentError, match=r"^customer: is ") as caught:
        require_id("customer", text)
    assert caught.value.field == "customer"
    assert len(str(caught.value)) < 200, "the message must not repeat what may be a megabyte"


def test_an_optional_id_may_be_empty_but_not_wrong() -> None:
    assert require_optional_id("resource", "") == ""
    with pytest.raises(InvalidArgumentError, match="resource: is not an id"):
        require_optional_id("resource", "a b")


@given(st.integers(0, AMOUNT_MAX))
def test_amounts_pass(amount: int) -> None:
    assert require_amount("amount", amount) == amount


@pytest.mark.parametrize(
    ("amount", "problem"),
    [
        (-1, "is negative"),
        (-(2**63), "is negative"),
        (AMOUNT_MAX + 1, "is too large"),
        (2**63 - 1, "is too large"),
    ],
)
def test_amounts_outside_are_refused(amount: int, problem: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        require_amount("amount", amount)
    assert caught.value.field == "amount"
    assert problem in caught.value.problem


def test_texts_have_an_end() -> None:
    assert require_text("key", "ab", 2) == "ab"
    with pytest.raises(InvalidArgumentError, match="key: has 3 characters; at most 2"):
        require_text("key", "abc", 2)
    # PostgreSQL stores no text with it.
    with pytest.raises(InvalidArgumentError, match="key: has a NUL character"):
        require_text("key", "a\0", 2)


def test_the_error_tree_has_one_root() -> None:
    found = [
        value
        for name, value in vars(errors).items()
        if isinstance(value, type) and name.endswith("Error")
    ]

    assert len(found) == 9
    assert all(issubclass(error, WeighbridgeError) for error in found)
