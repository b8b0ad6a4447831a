"""Reads a YAML file of configuration into a model; what is wrong is told by file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from weighbridge.rules.errors import InvalidArgumentError

SIZE_MAX: Final = 1 << 20

T = TypeVar("T", bound=BaseModel)


def read_config(path: Path, model: type[T], tags: frozenset[str] = frozenset()) -> T:
    """Read the file. Raises InvalidArgumentError that names the file and the key.

    `tags` choose between the members of a union; they are no keys of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise InvalidArgumentError(str(path), problem) from error
    if len(text) > SIZE_MAX:
        raise InvalidArgumentError(str(path), f"is longer than {SIZE_MAX} characters")
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or "is no YAML"
        raise InvalidArgumentError(str(path), f"{line}{problem}") from error
    try:
        return model.model_validate({} if found is None else found)
    except ValidationError as error:
        raise InvalidArgumentError(str(path), _told(error, tags)) from None


def _told(error: ValidationError, tags: frozenset[str]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    parts = [part for part in first["loc"] if part not in tags]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")
    problem = first["msg"].removeprefix("Value error, ")
    return f"{where}: {problem}" if where else problem
