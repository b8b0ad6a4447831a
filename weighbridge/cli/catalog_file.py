"""Catalog documents validated without a control plane, by the control plane's own code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from control_plane.catalog import catalog_schema, compile_catalog, load_document
from weighbridge.cli.document_text import DocumentText
from weighbridge.cli.json_shapes import JsonObject
from weighbridge.rules.catalog import Catalog
from weighbridge.rules.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in a document, and where."""

    line: int | None
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Validation:
    """One file, and what was found in it. A valid one has the ids of its catalog and plans."""

    file: str
    catalog: str = ""
    features: int = 0
    plans: tuple[str, ...] = ()
    add_ons: tuple[str, ...] = ()
    finding: Finding | None = None

    @property
    def message(self) -> str:
        """What is wrong, as `FILE:LINE: PATH: TEXT`; empty where nothing is."""
        if self.finding is None:
            return ""
        line = "" if self.finding.line is None else f":{self.finding.line}"
        return f"{self.file}{line}: {self.finding.path}: {self.finding.text}"

    def to_json(self) -> JsonObject:
        """Return the documented shape."""
        finding = self.finding
        return {
            "file": self.file,
            "valid": finding is None,
            "catalog": self.catalog or None,
            "features": self.features,
            "plans": list(self.plans),
            "add_ons": list(self.add_ons),
            "error": finding and {"line": finding.line, "path": finding.path, "text": finding.text},
        }


def validate(document: DocumentText) -> Validation:
    """Load and compile a document as an apply would."""
    try:
        catalog = compiled(document)
    except InvalidArgumentError as error:
        return Validation(document.source_name, finding=_finding(error, document.source_name))
    return Validation(
        document.source_name,
        catalog=catalog.id,
        features=len(catalog.features),
        plans=tuple(catalog.plans),
        add_ons=tuple(catalog.add_ons),
    )


def compiled(document: DocumentText) -> Catalog:
    """Compile a document, as version 1. Raises InvalidArgumentError naming the place in it."""
    return compile_catalog(load_document(document.text, document.source_name), 1)


def _finding(error: InvalidArgumentError, source_name: str) -> Finding:
    """Take the line out of a problem that begins with `source_name:line: `."""
    where = re.match(re.escape(source_name) + r":(\d+): ", error.problem)
    if where is None:
        return Finding(None, error.field, error.problem)
    return Finding(int(where[1]), error.field, error.problem[where.end() :])


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a catalog document."""
    return catalog_schema()
