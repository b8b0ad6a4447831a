"""The JSON Schema that editors use takes what is valid, and refuses what is plainly not."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from catalog_samples import SAMPLE
from price_samples import PRICED, repriced

from control_plane.catalog import catalog_schema

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/catalogs/*.yaml"))
SCHEMA = jsonschema.Draft202012Validator(catalog_schema())


@pytest.mark.parametrize("text", [SAMPLE, PRICED, *(path.read_text("utf-8") for path in EXAMPLES)])
def test_valid_catalogs_fit(text: str) -> None:
    assert list(SCHEMA.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("flat: 10.00", "flat: -1"),
        ('"5"', '"five"'),
        ("percent: 2.9, of: usage", "percent: 2.9"),
        ("proration: difference", "proration: full"),
        ("per: 1000", "per: 0"),
    ],
)
def test_wrong_prices_do_not(old: str, new: str) -> None:
    assert list(SCHEMA.iter_errors(yaml.safe_load(repriced((old, new)))))
