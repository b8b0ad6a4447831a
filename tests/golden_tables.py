"""The golden tables of rating: usage and charge by published price lists."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from weighbridge.rules.rating.usage import Usage

GOLDEN = Path(__file__).parent / "rating" / "golden"
EXAMPLES = Path(__file__).parents[1] / "examples" / "catalogs"

_USAGE = re.compile(r"([a-z_.]+)(?:\{([^}]*)\})?=([0-9]+)")


def catalog_path(name: str) -> Path:
    """Return where the catalog of a table is."""
    path = EXAMPLES / f"{name}.yaml"
    return path if path.exists() else GOLDEN / f"{name}.yaml"


def rows(folder: str = "") -> list[tuple[str, dict[str, str]]]:
    found = []
    for path in sorted((GOLDEN / folder).glob("*.csv")):
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
