"""YAML text to plain values, with the line each stands on.

A strict subset of YAML 1.2: one document, no anchors, aliases or tags, every key once. Plain
scalars mean what JSON means by them: `yes`, `on` and `012` are text, not values of YAML 1.1.
Depth, size and number of values are bounded, so that a document costs what its length suggests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import yaml

from control_plane.catalog.problem import Path, Problem, quoted, raise_first

SIZE_BYTES_MAX: Final = 1_048_576
DEPTH_MAX: Final = 16
VALUES_MAX: Final = 100_000

_CONSTANTS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
}
# A number with more digits stays text: it is no amount, and reading it would take long.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})", re.ASCII)
_FRACTION = re.compile(
    r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}\.[0-9]{0,40})([eE][-+]?[0-9]{1,3})?", re.ASCII
)
_UNPRINTABLE = re.compile(
    r"[^\x09\x0A\x0D\x20-\x7E\x85\xA0-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]"
)

# libyaml where PyYAML was built with it: the same events, some ten times sooner.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlSource(NamedTuple):
    """A document's plain values (dict, list, str, int, Decimal, bool, None) and their lines.

    The line of a mapping's entry is its key's; the document's own path is ().
    """

    data: Any
    lines: Mapping[Path, int]


def read_yaml(text: str, source_name: str) -> YamlSource:
    """Read one document. Raises InvalidArgumentError for the first thing that is wrong."""
    text = text.removeprefix("\ufeff")
    raise_first(_text_problems(text), source_name)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.YAMLError as error:
        builder.problems.append(_syntax_problem(error))
    except _Stop as stop:
        builder.problems.append(stop.problem)
    if builder.data is None and not builder.problems:
        builder.problems.append(Problem(1, (), "is empty; it begins with `catalog: ID`"))
    raise_first(builder.problems, source_name)
    return YamlSource(builder.data, builder.lines)


def _text_problems(text: str) -> Iterator[Problem]:
    if len(text) > SIZE_BYTES_MAX:
        yield Problem(1, (), f"is larger than {SIZE_BYTES_MAX} bytes; split the catalog")
        return
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        line = text.count("\n", 0, unprintable.start()) + 1
        yield Problem(line, (), f"holds the character {unprintable[0]!a}; remove it")
    elif len(text.encode()) > SIZE_BYTES_MAX:
        yield Problem(1, (), f"is larger than {SIZE_BYTES_MAX} bytes; split the catalog")


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(1, (), f"is not YAML: {quoted(error)}")
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    column = "" if mark is None else f" at column {mark.column + 1}"
    return Problem(1 if mark is None else mark.line + 1, (), f"is not YAML{column}: {said}")


class _Stop(Exception):  # noqa: N818 (control flow inside this module)
    """What makes it useless to read on."""

    def __init__(self, line: int, path: Path, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(line, path, text)


class _Open:
    """A mapping or sequence that has not ended yet."""

    __slots__ = ("key", "path", "values")

    def __init__(self, path: Path, values: dict[str, Any] | list[Any]) -> None:
        self.path = path
        self.values = values
        self.key: str | None = None


class _Builder:
    """Takes YAML events one by one; an explicit stack, so that depth costs no recursion."""

    def __init__(self) -> None:
        self.data: Any = None
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event. Raises _Stop where the rest need not be read."""
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _Stop(line, (), "a second document begins; a file holds one catalog")
        elif isinstance(event, yaml.AliasEvent):
            text = f"the alias *{event.anchor} is refused; write the value out"
            raise _Stop(line, self._next_path(), text)
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _node(self, event: yaml.NodeEvent, line: int) -> None:
        if event.anchor is not None:
            text = f"the anchor &{event.anchor} is refused; write values out where they stand"
            raise _Stop(line, self._next_path(), text)
        tag = getattr(event, "tag", None)
        if tag is not None:
            text = f"the tag {quoted(tag)} is refused; leave it out"
            raise _Stop(line, self._next_path(), text)
        parent = self._stack[-1] if self._stack else None
        if parent is not None and isinstance(parent.values, dict) and parent.key is None:
            self._key(parent, event, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._place(_scalar(event), line)
        else:
            values: dict[str, Any] | list[Any] = (
                {} if isinstance(event, yaml.MappingStartEvent) else []
            )
            path = self._place(values, line)
            self._stack.append(_Open(path, values))
            if len(self._stack) > DEPTH_MAX:
                raise _Stop(line, path, f"is nested more than {DEPTH_MAX} levels deep")

    def _key(self, parent: _Open, event: yaml.NodeEvent, line: int) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise _Stop(line, parent.path, "has a list or mapping as a key; a key is a word")
        path = (*parent.path, event.value)
        if event.value in parent.values:
            text = f"is there twice, first on line {self.lines[path]}; keep one"
            self.problems.append(Problem(line, path, text))
        parent.key = event.value
        self.lines[path] = line

    def _place(self, value: Any, line: int) -> Path:
        """Put a value where it belongs and return its path."""
        path = self._next_path()
        if value is None and path:
            text = "has no value; give it one, or leave it out"
            self.problems.append(Problem(line, path, text))
        if not self._stack:
            self.data = value
        else:
            parent = self._stack[-1]
            if isinstance(parent.values, dict):
                assert parent.key is not None
                parent.values[parent.key] = value
                parent.key = None
            else:
                parent.values.append(value)
        # An entry's line is already its key's.
        self.lines.setdefault(path, line)
        if len(self.lines) > VALUES_MAX:
            raise _Stop(line, path, f"is the value after {VALUES_MAX}; split the catalog")
        return path

    def _next_path(self) -> Path:
        if not self._stack:
            return ()
        parent = self._stack[-1]
        if isinstance(parent.values, list):
            return (*parent.path, len(parent.values))
        return parent.path if parent.key is None else (*parent.path, parent.key)


def _scalar(event: yaml.ScalarEvent) -> str | int | Decimal | bool | None:
    text = event.value
    if event.style not in (None, ""):
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    # Its digits as written: a float would be another number.
    return Decimal(text) if _FRACTION.fullmatch(text) else text
