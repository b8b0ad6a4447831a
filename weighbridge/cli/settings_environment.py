"""Options of a process become its environment: the process itself reads nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from weighbridge.cli.exit_codes import UsageError

Value = str | int | float | bool | Path | None

SettingOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, by its name; repeatable"),
]


def settings_environment(
    prefix: str, options: Mapping[str, Value], settings: Iterable[str] | None = None
) -> dict[str, str]:
    """Return the variables of the options that were given and of NAME=VALUE settings."""
    variables = {
        prefix + name.upper(): _text(value) for name, value in options.items() if value is not None
    }
    for text in settings or ():
        name, equals, value = text.partition("=")
        if not equals or not name.replace("_", "").isalnum():
            raise UsageError(f"--set {text}: write NAME=VALUE")
        variables[prefix + name.upper()] = value
    return variables


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def become(module: str, variables: Mapping[str, str]) -> NoReturn:
    """Replace this process with `python -m module`, so that nothing of the command stays."""
    command = [sys.executable, "-m", module]
    os.execve(sys.executable, command, {**os.environ, **variables})  # noqa: S606 - no shell on purpose
