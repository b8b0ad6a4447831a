"""A catalog document as text, from a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from weighbridge.cli.exit_codes import CommandError, ExitCode


class DocumentText(NamedTuple):
    """The text, and what messages call it."""

    text: str
    source_name: str


def read_document(file: Path) -> DocumentText:
    """Read a document; `-` is standard input. Raises CommandError naming the file."""
    try:
        if str(file) == "-":
            return DocumentText(sys.stdin.read(), "stdin")
        return DocumentText(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}", ExitCode.INVALID) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: {error}; it is to be UTF-8", ExitCode.INVALID) from error
