"""Tokens are random; their files are private, whole, and never replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from weighbridge.rules.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from weighbridge.runtime.tokens import (
    new_token,
    read_secret_file,
    token_digest,
    write_secret_file,
)


def test_tokens_differ_and_are_long() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 43
    assert token_digest("a") != token_digest("b")
    assert len(token_digest("a")) == 64


def test_a_secret_file_is_private_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    token = new_token()
    before = os.umask(0)
    try:
        write_secret_file(path, token)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret_file(path) == token
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    path.write_text("what was there before")

    with pytest.raises(AlreadyExistsError, match=r"admin\.token already exists"):
        write_secret_file(path, new_token())
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="cannot be written: No such file"):
        write_secret_file(tmp_path / "no" / "admin.token", new_token())
    with pytest.raises(NotFoundError, match="does not exist"):
        read_secret_file(tmp_path / "no" / "admin.token")
    with pytest.raises(FailedPreconditionError, match="cannot be read: Is a directory"):
        read_secret_file(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "must hold 16 to 4096 characters"),
        ("short", "must hold 16 to 4096 characters"),
        ("x" * 2**20, "must hold 16 to 4096 characters"),
        ("two lines of it\nand another one", "one line of visible ASCII"),
        ("ümlaut-ümlaut-ümlaut", "one line of visible ASCII"),
    ],
)
def test_a_file_without_a_usable_secret(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "admin.token"
    path.write_text(content)

    with pytest.raises(FailedPreconditionError, match=problem) as caught:
        read_secret_file(path)
    assert not content or content not in str(caught.value)
