"""A catalog as nested names with texts as leaves: what comparing works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, Union

Tree: TypeAlias = Union[str, "Mapping[str, Tree]"]


def without_empty(tree: Mapping[str, Tree]) -> dict[str, Tree]:
    """Leave out what says nothing."""
    return {key: part for key, part in tree.items() if part}
