"""A catalog document from its text: read, shaped, checked; or one clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from control_plane.catalog.checking import add_on_limits, references
from control_plane.catalog.credit_checking import credit_references, credits_together
from control_plane.catalog.document import CatalogDocument
from control_plane.catalog.partner_checking import partner_references, partners_together
from control_plane.catalog.price_checking import price_references, prices_together
from control_plane.catalog.problem import Finding, Problem, line_of, raise_first
from control_plane.catalog.shape import document_from_source
from control_plane.catalog.spend_checking import spend_prices, spend_references
from control_plane.catalog.yaml_source import read_yaml

Check = Callable[[CatalogDocument], Iterable[Finding]]

# In this order: each row rests on those before.
_CHECKS: tuple[tuple[Check, ...], ...] = (
    (references, price_references, credit_references, partner_references, spend_references),
    (add_on_limits,),
    (prices_together, credits_together, partners_together, spend_prices),
)


def load_document(text: str, source_name: str) -> CatalogDocument:
    """Load a document that can be compiled.

    Raises InvalidArgumentError, its field the path, its problem beginning with `source_name:line`.
    Of several mistakes the first by line is told; YAML comes before keys and types, those before
    what refers to what.
    """
    source = read_yaml(text, source_name)
    document = document_from_source(source, source_name)
    for checks in _CHECKS:
        problems = (
            Problem(line_of(path, source.lines), path, found)
            for check in checks
            for path, found in check(document)
        )
        raise_first(problems, source_name)
    return document
