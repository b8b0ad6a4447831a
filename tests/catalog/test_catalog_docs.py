"""The documentation and the schema name every key; the documentation's example is a catalog."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from catalog_samples import compiled, error_of

from control_plane.catalog import CatalogDocument, catalog_schema
from control_plane.catalog.document_parts import ID_PATTERN, DocumentModel
from weighbridge.rules.units import is_id

DOCS = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8")


def leaves(model: type[DocumentModel]) -> list[type[DocumentModel]]:
    """List the models that are written, not those that only share keys."""
    below = [leaf for each in model.__subclasses__() for leaf in leaves(each)]
    return below or [model]


MODELS = list(dict.fromkeys(leaves(DocumentModel)))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_documentation_names_every_key(model: type[DocumentModel]) -> None:
    for key in model.model_fields:
        assert f"`{key}`" in DOCS, f"docs/catalog.md does not name `{key}` of {model.__name__}"


def test_the_documentation_states_the_bounds() -> None:
    for count in (
        "1,000 features",
        "200 plans",
        "200 add-ons",
        "16 limits",
        "256 values",
        "20,000",
        "500 prices",
        "100 tiers",
        "32 currencies",
    ):
        assert count in DOCS


def test_the_documented_example_and_error_are_true() -> None:
    text = DOCS.split("```yaml\n")[1].split("```")[0]
    assert compiled(text).id == "mail"
    broken = text.replace("own_domain: true", "own_domain: {limits: [{limit: 1, window: day}]}")
    path, line, problem = error_of(broken)
    assert f"{path}: mail.yaml:{line}: {problem}" in DOCS


def test_the_schema_describes_every_model_and_key() -> None:
    schema = catalog_schema()
    definitions = {**schema["$defs"], CatalogDocument.__name__: schema}
    assert set(definitions) == {model.__name__ for model in MODELS}
    for model in MODELS:
        described = definitions[model.__name__]
        assert described["additionalProperties"] is False
        assert set(described["properties"]) == set(model.model_fields)
        assert all("description" in each for each in described["properties"].values())
    assert '"null"' not in str(schema).replace("'", '"')


def test_ids_of_the_document_are_the_ids_of_the_rules() -> None:
    texts = ["a", "a.b_c-d:e@f/g", "A9", "", "a b", "ä", "a" * 128, "a" * 129, "a\n", "a#"]
    for text in texts:
        assert bool(re.fullmatch(ID_PATTERN.rstrip("$"), text)) == is_id(text)
