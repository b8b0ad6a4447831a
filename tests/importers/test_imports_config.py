"""What is wrong with a file of imports is told by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.importers.config import read_imports
from control_plane.settings import Settings
from weighbridge.rules.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stripe: [", "line 1"),
        ("stripe: {prices: [{price: p, plan: pro}]}", "stripe.secret_file: "),
        ("stripe: {secret_file: s, prices: []}", "stripe.prices: "),
        ("stripe: {secret_file: s, prices: [{price: p}]}", "stripe.prices[0]: name one of plan"),
        ("stripe: {secret_file: s, prices: [{plan: pro}]}", "name a price or a product"),
        ("stripe: {secret_file: s, prices: [{price: p, plan: a, add_on: b}]}", "name one of plan"),
        (
            "stripe: {secret_file: s, prices: [{price: p, plan: a}, {price: p, plan: b}]}",
            "stripe: prices[1]: 'p' is there twice",
        ),
        (
            "stripe: {secret_file: s, prices: [{price: p, grant: {credit_type: c, amount: 0}}]}",
            "stripe.prices[0].grant.amount: ",
        ),
        (
            "stripe: {secret_file: s, prices: [{price: p, plan: a, times: 0}]}",
            "stripe.prices[0].times: ",
        ),
        ("paddle: {}", "paddle: "),
        ("[]", "valid dictionary"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "imports.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgumentError) as caught:
        read_imports(path)
    assert caught.value.field == str(path)
    assert said in caught.value.problem


def test_imports_need_http() -> None:
    with pytest.raises(ValueError, match="set http_listen too"):
        Settings(imports_file=Path("imports.yaml"))
