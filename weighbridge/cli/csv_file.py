"""Tables that commands read: CSV with a header, from a file or standard input."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from weighbridge.cli.exit_codes import CommandError, ExitCode


class Line(NamedTuple):
    """A row and where it stands, for messages."""

    place: str
    number: int
    cells: dict[str, str]


def read_lines(
    file: Path, required: Sequence[str], optional: Sequence[str], prefix: str = ""
) -> list[Line]:
    """Return all rows. `-` is standard input; columns that begin with `prefix` are allowed too.

    Raises CommandError naming file, line and column.
    """
    with _opened(file) as text:
        reader = csv.DictReader(text, strict=True)
        try:
            columns = reader.fieldnames or ()
            _require_columns(file, columns, required, (*required, *optional), prefix)
            return [_line(file, reader.line_num, row) for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise _invalid(f"{file}:{reader.line_num}: {error}") from error


def number_of(line: Line, column: str) -> int | None:
    """Return the integer of a cell, None where it is empty. Raises CommandError."""
    text = line.cells.get(column, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise _invalid(f"{line.place}: {column}: {text!r} is not an integer") from None


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    if str(file) == "-":
        yield sys.stdin
        return
    try:
        text = file.open(encoding="utf-8", newline="")
    except OSError as error:
        raise _invalid(f"cannot read {file}: {error.strerror}") from error
    with text:
        yield text


def _require_columns(
    file: Path, columns: Sequence[str], required: Sequence[str], known: Sequence[str], prefix: str
) -> None:
    for column in required:
        if column not in columns:
            raise _invalid(f"{file}:1: no column {column}; the first line names the columns")
    for column in columns:
        if column not in known and not (prefix and column.startswith(prefix)):
            raise _invalid(f"{file}:1: unknown column {column}; known are {', '.join(known)}")


def _line(file: Path, number: int, row: dict[str | None, str | None]) -> Line:
    place = f"{file}:{number}"
    if None in row or None in row.values():
        raise _invalid(f"{place}: not as many cells as the first line has")
    return Line(place, number, {name: cell.strip() for name, cell in row.items() if name and cell})


def _invalid(message: str) -> CommandError:
    return CommandError(message, ExitCode.INVALID)
