"""What is wrong with a document, where; and the one error that a caller gets of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import is_id

Path = tuple[str | int, ...]
Finding = tuple[Path, str]

WHOLE_DOCUMENT = "document"
QUOTED_LENGTH_MAX = 60


class Problem(NamedTuple):
    """One thing that is wrong."""

    line: int
    path: Path
    text: str


def raise_first(problems: Iterable[Problem], source_name: str) -> None:
    """Raise InvalidArgumentError for the problem on the first line, if there is any."""
    first = min(problems, key=lambda problem: problem.line, default=None)
    if first is not None:
        where = f"{source_name or WHOLE_DOCUMENT}:{first.line}"
        raise InvalidArgumentError(path_text(first.path), f"{where}: {first.text}")


def line_of(path: Path, lines: Mapping[Path, int]) -> int:
    """Return the line of a path; of one that is not there, its nearest parent's."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def path_text(path: Path) -> str:
    """Write a path as `plans.pro.features.api.calls.limits[0].limit`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if is_id(part) else f".{quoted(part)}"
    return text.removeprefix(".") or WHOLE_DOCUMENT


def quoted(value: Any) -> str:
    """Quote a value from the document: short, and on one line."""
    text = str(value)
    return repr(text if len(text) <= QUOTED_LENGTH_MAX else text[:QUOTED_LENGTH_MAX] + "...")


def listed(words: Sequence[str]) -> str:
    """Write the words that would be right, a few of them."""
    shown = ", ".join(words[:10])
    return f"{shown}, ..." if len(words) > 10 else shown  # noqa: PLR2004 (what a line holds)


def unknown(what: str, id_: str, known: Mapping[str, object]) -> str:
    """Say that an id does not exist, and which do."""
    return f"there is no {what} {quoted(id_)}; known: {listed(list(known))}"
