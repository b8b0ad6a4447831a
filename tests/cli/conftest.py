"""A running `weighbridge up`, and the command line on it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_pair import CommandLine, Up, catalog_text, end, first_line, start_up


@pytest.fixture(name="data_dir")
def short_data_dir() -> Iterator[Path]:
    """Give a directory whose path leaves room for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="wb-") as directory:
        yield Path(directory) / "data"


@pytest.fixture(scope="module", name="up")
def running_up() -> Iterator[Up]:
    with tempfile.TemporaryDirectory(prefix="wb-") as directory:
        catalog = Path(directory) / "shop.yaml"
        catalog.write_text(catalog_text(), encoding="utf-8")
        process = start_up(Path(directory) / "data", "--json", f"--catalog={catalog}")
        try:
            line = first_line(process)
            assert line, end(process)
            yield Up(process, json.loads(line))
            assert process.poll() is None, end(process)
        finally:
            end(process)


@pytest.fixture(name="cli")
def command_line(
    up: Up, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Run commands against the running pair."""
    addresses = up.addresses
    monkeypatch.setenv("WEIGHBRIDGE_SIDECAR", addresses["sidecar"])
    monkeypatch.setenv("WEIGHBRIDGE_CONTROL_PLANE", addresses["control_plane"])
    monkeypatch.setenv("WEIGHBRIDGE_ADMIN_TOKEN_FILE", addresses["admin_token_file"])
    return CommandLine(capsys)
