"""Recorded usage, row by row: CSV, TSV or JSON lines, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from weighbridge.cli.exit_codes import CommandError, ExitCode

FORMATS: Final = {".csv": ",", ".tsv": "\t", ".jsonl": ""}
"""What separates the cells, by how a file's name ends."""

FILE_HELP: Final = "CSV or TSV with a header, or JSON lines; .gz is unpacked; - is CSV from stdin"


class _CommaSeparated(csv.excel):
    strict = True


class _TabSeparated(csv.excel_tab):
    # Such files quote nothing.
    quoting = csv.QUOTE_NONE


class BadRow(NamedTuple):
    """A row that cannot be read."""

    number: int
    problem: str


@dataclass(frozen=True, slots=True)
class UsageFile:
    """A file, and what its name says of it."""

    path: Path
    delimiter: str
    is_gzip: bool

    def place(self, number: int) -> str:
        """Name a line."""
        return f"{'stdin' if str(self.path) == '-' else self.path}:{number}"

    def rows(self, required: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str] | BadRow]]:
        """Yield every row with its line number. Raises CommandError where the file fails."""
        number = 0
        try:
            with self._opened() as text:
                read = (
                    self._separated(text, required)
                    if self.delimiter
                    else _json_rows(text, required)
                )
                for number, row in read:
                    yield number, row
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            raise _invalid(f"{self.place(number + 1)}: cannot be read: {problem}") from error

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        if str(self.path) == "-":
            yield sys.stdin
        elif self.is_gzip:
            with gzip.open(self.path, "rt", encoding="utf-8", newline="") as text:
                yield text
        else:
            with self.path.open(encoding="utf-8", newline="") as text:
                yield text

    def _separated(
        self, text: Iterable[str], required: Sequence[str]
    ) -> Iterator[tuple[int, Mapping[str, str] | BadRow]]:
        dialect = _TabSeparated if self.delimiter == "\t" else _CommaSeparated
        reader = csv.reader(text, dialect)
        header = self._next(reader, [])
        self._require(header, required)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, BadRow(reader.line_num, str(error))
                continue
            if len(cells) == len(header):
                yield reader.line_num, dict(zip(header, cells, strict=True))
            elif cells:
                problem = f"has {len(cells)} cells; the first line has {len(header)}"
                yield reader.line_num, BadRow(reader.line_num, problem)

    def _next(self, reader: Iterator[list[str]], otherwise: list[str]) -> list[str]:
        try:
            return next(reader, otherwise)
        except csv.Error as error:
            raise _invalid(f"{self.place(1)}: {error}") from error

    def _require(self, header: Sequence[str], required: Sequence[str]) -> None:
        if len(set(header)) != len(header):
            raise _invalid(f"{self.place(1)}: a column is named twice")
        for column in required:
            if column not in header:
                has = ", ".join(header) or "none"
                raise _invalid(f"{self.place(1)}: no column {column!r}; it has {has}")


def usage_file(path: Path) -> UsageFile:
    """Return the file. Raises CommandError where its name does not say what is in it."""
    if str(path) == "-":
        return UsageFile(path, ",", is_gzip=False)
    is_gzip = path.suffix == ".gz"
    ending = Path(path.stem).suffix if is_gzip else path.suffix
    if ending not in FORMATS:
        known = ", ".join(FORMATS)
        raise _invalid(f"{path}: what it is cannot be told from its name: {known}, or one with .gz")
    return UsageFile(path, FORMATS[ending], is_gzip)


def _json_rows(
    text: Iterable[str], required: Sequence[str]
) -> Iterator[tuple[int, Mapping[str, str] | BadRow]]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, BadRow(number, f"is no JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, {name: _text(row[name]) for name in required if name in row}
        else:
            yield number, BadRow(number, "is no JSON object")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _invalid(message: str) -> CommandError:
    return CommandError(message, ExitCode.INVALID)
