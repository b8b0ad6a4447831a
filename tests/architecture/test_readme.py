"""What the README shows works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from control_plane.catalog import compile_catalog, load_document
from weighbridge.cli.root import app

README = Path(__file__).parents[2] / "README.md"
COMMAND = re.compile(r"^\$ weighbridge ([^#\n]+)", re.MULTILINE)


def test_its_catalog_is_sound() -> None:
    blocks = re.findall(r"```yaml\n(.+?)```", README.read_text(encoding="utf-8"), re.DOTALL)

    assert len(blocks) == 1
    assert compile_catalog(load_document(blocks[0], "README.md"), 1).id == "mail"


@pytest.mark.parametrize("line", COMMAND.findall(README.read_text(encoding="utf-8")))
def test_its_commands_exist_with_their_options(line: str) -> None:
    """Parse the line as the command would, without running it."""
    words = shlex.split(line)
    command: Any = typer.main.get_command(app)
    while hasattr(command, "get_command"):
        name = words.pop(0)
        command = command.get_command(None, name)
        assert command is not None, f"there is no command {name}"

    command.make_context(command.name, words)
