"""Which columns of a usage file mean what, and a row as an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from weighbridge.cli.exit_codes import UsageError
from weighbridge.replay.event import Dimensions, Event
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.judging import Asked
from weighbridge.rules.rating.period import INSTANT_MS_MAX
from weighbridge.rules.units import require_amount, require_signed_amount

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_NUMBER: Final = re.compile(r"-?\d{1,15}(\.\d+)?", re.ASCII)
_INTEGER: Final = re.compile(r"-?\d{1,19}", re.ASCII)
# Unix seconds have fewer digits until the year 5138, milliseconds since 1973.
_SECONDS_BELOW: Final = 10**11


class TimeUnit(Enum):
    """What a number in the time column counts."""

    AUTO = "auto"
    SECONDS = "s"
    MILLISECONDS = "ms"


class Cell(NamedTuple):
    """Where a text comes from: a column, or it is the same in every row."""

    column: str
    constant: str = ""

    def of(self, row: Mapping[str, str]) -> str:
        """Return the text. Raises InvalidArgumentError where the row has none."""
        if not self.column:
            return self.constant
        text = row.get(self.column)
        if text is None:
            raise InvalidArgumentError(self.column, "the row has no such column")
        return text

    @property
    def place(self) -> str:
        """What messages call it."""
        return self.column or f"={self.constant}"


def parse_cell(text: str) -> Cell:
    """Read `COLUMN` or `=constant`. Raises a usage error."""
    if text.startswith("="):
        return Cell("", text[1:])
    if not text:
        raise UsageError("a column has no name; write COLUMN or =constant")
    return Cell(text)


def parse_named_cells(option: str, texts: Iterable[str]) -> dict[str, Cell]:
    """Read `NAME=COLUMN` or `NAME==constant`, several of them. Raises a usage error."""
    cells: dict[str, Cell] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{option} {text!r}: write NAME=COLUMN or NAME==constant")
        if name in cells:
            raise UsageError(f"{option}: {name} is given twice")
        cells[name] = parse_cell(source)
    return cells


@dataclass(frozen=True, slots=True)
class Columns:
    """The mapping. `usage` has a feature and what is asked of it; or `feature` says which it is.

    `counted` are the features that take a number: of others, the cell is the value asked for.
    `released` are those of which units are given back.
    """

    customer: Cell
    plan: Cell
    time: Cell
    time_unit: TimeUnit
    start_ms: int | None
    usage: Mapping[str, Cell]
    feature: Cell | None
    amount: Cell
    dimensions: Mapping[str, Cell]
    counted: Collection[str]
    released: Collection[str]

    def required(self) -> list[str]:
        """List the columns that every row has to have."""
        cells = [self.customer, self.plan, self.time, *self.usage.values()]
        cells += self.dimensions.values()
        if self.feature is not None:
            cells += [self.feature, self.amount]
        return list(dict.fromkeys(cell.column for cell in cells if cell.column))

    def reader(self) -> Callable[[Mapping[str, str]], Event]:
        """Return what makes an event of a row, or raises InvalidArgumentError with the column."""
        names = sorted(self.dimensions.items())

        def read(row: Mapping[str, str]) -> Event:
            dimensions: Dimensions = tuple([(name, cell.of(row)) for name, cell in names])
            return Event(
                _required(self.customer, row),
                _required(self.plan, row),
                self._instant_ms(row),
                self._asked(row),
                dimensions,
            )

        return read

    def _asked(self, row: Mapping[str, str]) -> tuple[Asked, ...]:
        if self.feature is not None:
            return (self._ask(_required(self.feature, row), self.amount, row),)
        return tuple([self._ask(feature, cell, row) for feature, cell in self.usage.items()])

    def _ask(self, feature: str, cell: Cell, row: Mapping[str, str]) -> Asked:
        text = cell.of(row).strip()
        if feature not in self.counted:
            return Asked(feature, value=text)
        if _INTEGER.fullmatch(text) is None:
            raise InvalidArgumentError(cell.place, f"{text!r} is not an integer")
        require = require_signed_amount if feature in self.released else require_amount
        return Asked(feature, require(cell.place, int(text)))

    def _instant_ms(self, row: Mapping[str, str]) -> int:
        text = self.time.of(row).strip()
        place = self.time.place
        is_number = _NUMBER.fullmatch(text) is not None
        at_ms = self._number_ms(text) if is_number else _iso_ms(place, text)
        if self.start_ms is not None and not is_number:
            raise InvalidArgumentError(place, f"{text!r} is no number to count from --start")
        if not 0 <= at_ms < INSTANT_MS_MAX:
            raise InvalidArgumentError(place, f"{text!r} is no instant after 1970")
        return at_ms

    def _number_ms(self, text: str) -> int:
        unit = self.time_unit
        whole = int(text.partition(".")[0])
        if unit is TimeUnit.AUTO:
            is_seconds = self.start_ms is not None or whole < _SECONDS_BELOW
            unit = TimeUnit.SECONDS if is_seconds else TimeUnit.MILLISECONDS
        if unit is TimeUnit.MILLISECONDS:
            return (self.start_ms or 0) + whole
        # By digits, so that no float moves an instant to the other side of a window's end.
        digits = text.partition(".")[2][:3].ljust(3, "0")
        return (self.start_ms or 0) + whole * 1000 + (-int(digits) if whole < 0 else int(digits))


def _required(cell: Cell, row: Mapping[str, str]) -> str:
    text = cell.of(row).strip()
    if not text:
        raise InvalidArgumentError(cell.place, "is empty")
    return text


def _iso_ms(place: str, text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{text!r} is no time: ISO 8601, or Unix seconds or milliseconds"
        raise InvalidArgumentError(place, problem) from None
    return ((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH) // _MS
