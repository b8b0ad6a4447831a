"""Windows as written to those of the rules, and what a limit is called by its window."""

from __future__ import annotations

from datetime import UTC
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from control_plane.catalog.grant_document import (
    AnniversaryWindow,
    CalendarWindow,
    Length,
    LengthDocument,
    LimitDocument,
    RollingWindow,
    SessionWindow,
    WindowDocument,
)
from control_plane.catalog.partner_document import QuotaLimitDocument
from weighbridge.rules.window import DAY_MS, HOUR_MS, MINUTE_MS, Period, Window, WindowKind

HELD: Final = "held"

# From the package and not from the machine, so that a document is valid everywhere or nowhere.
TIME_ZONES: Final = frozenset(files("tzdata").joinpath("zones").read_text("ascii").split())


def limit_id(written: LimitDocument | QuotaLimitDocument) -> str:
    """Return a limit's id: its own, else the name of its period, or `held`."""
    if written.id is not None:
        return written.id
    if isinstance(written.window, CalendarWindow):
        return written.window.calendar
    if isinstance(written.window, AnniversaryWindow):
        return written.window.anniversary
    if isinstance(written.window, RollingWindow | SessionWindow):
        return window_of(written.window).kind.value
    return written.window or HELD


def window_of(written: WindowDocument | None) -> Window:
    """Return a window with its time-zone object. The time zone is one of `TIME_ZONES`.

    What is held now has none written: all that was ever acquired and released counts.
    """
    if isinstance(written, CalendarWindow):
        return _window(WindowKind.CALENDAR, written.calendar, written.time_zone)
    if isinstance(written, AnniversaryWindow):
        return _window(WindowKind.ANNIVERSARY, written.anniversary, written.time_zone)
    if isinstance(written, RollingWindow):
        return Window(WindowKind.ROLLING, length_ms=length_ms(written.rolling))
    if isinstance(written, SessionWindow):
        return Window(WindowKind.SESSION, length_ms=length_ms(written.session))
    if written in (None, "lifetime"):
        return Window(WindowKind.LIFETIME)
    return _window(WindowKind.CALENDAR, written, "UTC")


def length_ms(written: Length) -> int:
    """Return a length, which may be one that no window can have."""
    if not isinstance(written, LengthDocument):
        return {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS}[written]
    minutes, hours, days = written.minutes or 0, written.hours or 0, written.days or 0
    return minutes * MINUTE_MS + hours * HOUR_MS + days * DAY_MS


def _window(kind: WindowKind, period: str, time_zone: str) -> Window:
    zone = UTC if time_zone == "UTC" else ZoneInfo(time_zone)
    return Window(kind, Period(period), time_zone, zone)
