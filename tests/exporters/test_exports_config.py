"""What is wrong with a file of exporters is told by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.exporters.config import read_exports
from weighbridge.rules.errors import InvalidArgumentError

FILES = "{id: a, kind: files, folder: out}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exporters: [", "line 1"),
        ("exporters: [{id: a, kind: carrier_pigeon}]", "exporters[0]: "),
        ("exporters: [{id: A, kind: files, folder: out}]", "exporters[0].id: "),
        ("exporters: [{id: a, kind: files}]", "exporters[0].folder: "),
        (f"exporters: [{FILES}, {FILES}]", "is there twice"),
        ("exporters: [{id: a, kind: files, folder: o, format: zuora_csv}]", "meters: "),
        ("exporters: [{id: a, kind: files, folder: o, colour: red}]", "exporters[0].colour: "),
        ("exporters: [{id: a, kind: stripe, api_key_file: k, meters: []}]", "[0].meters: "),
        (
            "exporters: [{id: a, kind: webhook, secret_file: s, url: 'ftp://x'}]",
            "exporters[0].url: ",
        ),
        ("other: []", "other: "),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "exports.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgumentError) as caught:
        read_exports(path)
    assert caught.value.field == str(path)
    assert said in caught.value.problem


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        read_exports(tmp_path / "none.yaml")


def test_nothing_is_exported_by_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "exports.yaml"
    path.write_text("", encoding="utf-8")
    assert read_exports(path).exporters == ()
