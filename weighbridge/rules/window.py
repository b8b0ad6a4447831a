"""Windows: the spans of time after which usage starts from zero.

An instant is an integer, milliseconds since 1970-01-01T00:00:00Z. Bounds are half open: usage at
`end_ms` belongs to the next window. The time-zone object is handed in, never looked up here.

Rules:

- A calendar window turns at the local start of its hour, day, week (Monday, ISO 8601), month or
  year. Where a clock change skips that local time, it turns at the first instant after the gap;
  where one brings it twice, at the first. An hour also turns where a change falls within it.
- An anniversary window turns when the local date and time of the anchor returns. A month that
  lacks the anchor's day turns on its last day (31 January, 28 February, 31 March), counted from
  the anchor each time, so that a short month does not move later ones.
- A lifetime window begins at 0 and never ends.
- Rolling windows and sessions lie where usage is: `rules/moving.py` has them.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum
from typing import Final, NamedTuple

HOUR_MS = 3_600_000
MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * HOUR_MS
LENGTH_MS_MAX: Final = 366 * DAY_MS

_LENGTH_UNITS_MS: Final = {"d": DAY_MS, "h": HOUR_MS, "m": MINUTE_MS}
_LENGTH: Final = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m)?", re.ASCII)


class WindowKind(Enum):
    """When usage starts from zero."""

    # Members are single objects; Enum's own hash is a Python call, and this is hot.
    __hash__ = object.__hash__

    CALENDAR = "calendar"
    ANNIVERSARY = "anniversary"
    LIFETIME = "lifetime"
    ROLLING = "rolling"
    SESSION = "session"


MOVING_KINDS: Final = frozenset({WindowKind.ROLLING, WindowKind.SESSION})
"""Those that lie where usage is, and have a length."""


class Period(Enum):
    """The length of a calendar or anniversary window."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class WindowBounds(NamedTuple):
    """One window: from `start_ms` until before `end_ms`; no end means it never turns."""

    start_ms: int
    end_ms: int | None

    def contains(self, at_ms: int) -> bool:
        """Whether the instant lies in the window."""
        return self.start_ms <= at_ms and (self.end_ms is None or at_ms < self.end_ms)


@dataclass(frozen=True, slots=True)
class Window:
    """A kind of window. `zone` is the object for `time_zone`.

    Those that turn with local time have a period, rolling windows and sessions a length, in whole
    minutes; a lifetime has neither.
    """

    kind: WindowKind
    period: Period | None = None
    time_zone: str = "UTC"
    zone: tzinfo = UTC
    length_ms: int | None = None

    @property
    def key(self) -> str:
        """Name windows that turn together alike, for instance `calendar:month:UTC`."""
        if self.length_ms is not None:
            return f"{self.kind.value}:{self.length_ms}"
        if self.period is None:
            return self.kind.value
        return f"{self.kind.value}:{self.period.value}:{self.time_zone}"

    @property
    def text(self) -> str:
        """Name it for people: its key, the length as `rolling:5h`."""
        if self.length_ms is not None:
            return f"{self.kind.value}:{length_text(self.length_ms)}"
        return self.key


def length_problem(length_ms: int) -> str | None:
    """Say what is wrong with the length of a rolling window or session, if anything is."""
    if length_ms % MINUTE_MS:
        return "is no whole number of minutes"
    if not MINUTE_MS <= length_ms <= LENGTH_MS_MAX:
        return "is not between 1 minute and 366 days"
    return None


def length_text(length_ms: int) -> str:
    """Write a length as `5h`, `7d` or `1d12h30m`."""
    text = ""
    for unit, unit_ms in _LENGTH_UNITS_MS.items():
        count, length_ms = divmod(length_ms, unit_ms)
        text += f"{count}{unit}" if count else ""
    return text


def parse_length(text: str) -> int | None:
    """Return the milliseconds of a length as `length_text` writes it; None where it is none."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        return None
    counts = zip(found.groups(default="0"), _LENGTH_UNITS_MS.values(), strict=True)
    length_ms = sum(int(count) * unit_ms for count, unit_ms in counts)
    return None if length_problem(length_ms) else length_ms


LIFETIME_BOUNDS = WindowBounds(0, None)


def window_bounds(window: Window, at_ms: int, anchor_ms: int) -> WindowBounds:
    """Return the window that holds `at_ms`. Only anniversary windows use `anchor_ms`."""
    assert window.length_ms is None, "rolling windows and sessions lie where usage is"
    if window.period is None:
        return LIFETIME_BOUNDS
    if window.kind is WindowKind.CALENDAR:
        return _calendar_bounds(window.period, window.zone, at_ms)
    return _anniversary_bounds(window.period, window.zone, at_ms, anchor_ms)


def _calendar_bounds(period: Period, zone: tzinfo, at_ms: int) -> WindowBounds:
    if period is Period.HOUR:
        return _calendar_hour(zone, at_ms)
    start = _calendar_start(period, _to_local(at_ms, zone))
    end = _calendar_end(period, start)
    if _to_ms(end, zone) <= at_ms:
        # The clocks went back across midnight: this window had already turned.
        start, end = end, _calendar_end(period, end)
    return WindowBounds(_to_ms(start, zone), _to_ms(end, zone))


def _calendar_hour(zone: tzinfo, at_ms: int) -> WindowBounds:
    # The offset is applied by hand: a local hour that happens twice is two windows.
    offset_ms = _offset_ms(at_ms, zone)
    start_ms = (at_ms + offset_ms) // HOUR_MS * HOUR_MS - offset_ms
    end_ms = start_ms + HOUR_MS
    if _offset_ms(start_ms, zone) != offset_ms:
        start_ms = _clock_change_ms(start_ms, at_ms, zone)
    if _offset_ms(end_ms - 1, zone) != offset_ms:
        end_ms = _clock_change_ms(at_ms, end_ms - 1, zone)
    return WindowBounds(start_ms, end_ms)


def _calendar_start(period: Period, local: datetime) -> datetime:
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    match period:
        case Period.WEEK:
            return midnight - timedelta(days=midnight.weekday())
        case Period.MONTH:
            return midnight.replace(day=1)
        case Period.YEAR:
            return midnight.replace(month=1, day=1)
        case _:
            return midnight


def _calendar_end(period: Period, start: datetime) -> datetime:
    match period:
        case Period.WEEK:
            return start + timedelta(days=7)
        case Period.MONTH:
            return _add_months(start, 1, start.day)
        case Period.YEAR:
            return start.replace(year=start.year + 1)
        case _:
            return start + timedelta(days=1)


def _anniversary_bounds(period: Period, zone: tzinfo, at_ms: int, anchor_ms: int) -> WindowBounds:
    if period is Period.HOUR:
        start_ms = anchor_ms + (at_ms - anchor_ms) // HOUR_MS * HOUR_MS
        return WindowBounds(start_ms, start_ms + HOUR_MS)
    anchor = _to_local(anchor_ms, zone).replace(tzinfo=None, fold=0)
    index = _periods_between(period, anchor, _to_local(at_ms, zone).replace(tzinfo=None, fold=0))
    # The estimate can be one off around a clipped day or a clock change: step to the right one.
    while _turn_ms(period, anchor, index, zone) > at_ms:
        index -= 1
    while _turn_ms(period, anchor, index + 1, zone) <= at_ms:
        index += 1
    return WindowBounds(
        _turn_ms(period, anchor, index, zone), _turn_ms(period, anchor, index + 1, zone)
    )


def _periods_between(period: Period, anchor: datetime, at: datetime) -> int:
    match period:
        case Period.MONTH:
            return (at.year - anchor.year) * 12 + at.month - anchor.month
        case Period.YEAR:
            return at.year - anchor.year
        case Period.WEEK:
            return (at - anchor).days // 7
        case _:
            return (at - anchor).days


def _turn_ms(period: Period, anchor: datetime, index: int, zone: tzinfo) -> int:
    """Return when the `index`-th window after the anchor begins."""
    match period:
        case Period.MONTH:
            turn = _add_months(anchor, index, anchor.day)
        case Period.YEAR:
            turn = _add_months(anchor, 12 * index, anchor.day)
        case Period.WEEK:
            turn = anchor + timedelta(days=7 * index)
        case _:
            turn = anchor + timedelta(days=index)
    return _to_ms(turn, zone)


def _add_months(moment: datetime, months: int, day: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(day, last_day))


def _to_local(at_ms: int, zone: tzinfo) -> datetime:
    seconds, milliseconds = divmod(at_ms, 1000)
    return datetime.fromtimestamp(seconds, zone).replace(microsecond=milliseconds * 1000)


def _to_ms(local: datetime, zone: tzinfo) -> int:
    """Return the instant of a local time; of one that a clock change skips, the gap's end."""
    aware = local.replace(tzinfo=zone)
    at_ms = _instant_ms(aware)
    if _to_local(at_ms, zone).replace(tzinfo=None) == local:
        return at_ms
    before = aware.utcoffset() or timedelta()
    after = aware.replace(fold=1).utcoffset() or timedelta()
    # fold=0 reads a skipped time with the offset before the gap, so it lands that far past the
    # gap's start; take the part back that lies beyond the gap's end.
    return _clock_change_ms(at_ms - abs(before - after) // timedelta(milliseconds=1), at_ms, zone)


def _clock_change_ms(low_ms: int, high_ms: int, zone: tzinfo) -> int:
    """Return the first instant in (low, high] with the offset that holds at `high_ms`."""
    wanted = _offset_ms(high_ms, zone)
    while high_ms - low_ms > 1:
        middle_ms = (low_ms + high_ms) // 2
        if _offset_ms(middle_ms, zone) == wanted:
            high_ms = middle_ms
        else:
            low_ms = middle_ms
    return high_ms


def _instant_ms(aware: datetime) -> int:
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _offset_ms(at_ms: int, zone: tzinfo) -> int:
    return (_to_local(at_ms, zone).utcoffset() or timedelta()) // timedelta(milliseconds=1)
