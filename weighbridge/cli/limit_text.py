"""A limit as written on the command line: ID=AMOUNT[,KIND[,WINDOW]]."""

from __future__ import annotations

from typing import Final

from weighbridge.cli.exit_codes import UsageError
from weighbridge.rules.window import parse_length
from weighbridge.v1 import types_pb2

LIMIT_HELP: Final = (
    "ID=AMOUNT or ID=unlimited changes a limit of the plan; a new one is "
    "ID=AMOUNT,hard|soft,WINDOW with the window lifetime, calendar:PERIOD[:ZONE], "
    "anniversary:PERIOD[:ZONE], rolling:LENGTH or session:LENGTH, a length such as 5h, 90m or "
    "1d12h; repeatable"
)

_KINDS: Final = {"hard": types_pb2.LIMIT_KIND_HARD, "soft": types_pb2.LIMIT_KIND_SOFT}
_WINDOWS: Final = {
    "calendar": types_pb2.WINDOW_KIND_CALENDAR,
    "anniversary": types_pb2.WINDOW_KIND_ANNIVERSARY,
    "lifetime": types_pb2.WINDOW_KIND_LIFETIME,
}
_MOVING: Final = {
    "rolling": types_pb2.WINDOW_KIND_ROLLING,
    "session": types_pb2.WINDOW_KIND_SESSION,
}
_PERIODS: Final = {
    "hour": types_pb2.WINDOW_PERIOD_HOUR,
    "day": types_pb2.WINDOW_PERIOD_DAY,
    "week": types_pb2.WINDOW_PERIOD_WEEK,
    "month": types_pb2.WINDOW_PERIOD_MONTH,
    "year": types_pb2.WINDOW_PERIOD_YEAR,
}
_PARTS_MAX: Final = 3


def parse_limit(text: str) -> types_pb2.Limit:
    """Return the limit. Raises UsageError quoting what is wrong."""
    limit_id, equals, terms = text.partition("=")
    parts = terms.split(",")
    if not equals or not limit_id or len(parts) > _PARTS_MAX:
        raise _wrong(text, "write ID=AMOUNT[,hard|soft[,WINDOW]]")
    limit = types_pb2.Limit(id=limit_id)
    if parts[0] != "unlimited":
        limit.limit = _amount(text, parts[0])
    if len(parts) > 1:
        if parts[1] not in _KINDS:
            raise _wrong(text, f"{parts[1]!r} is neither hard nor soft")
        limit.kind = _KINDS[parts[1]]
    if len(parts) == _PARTS_MAX:
        limit.window.CopyFrom(_window(text, parts[2]))
    return limit


def _amount(text: str, amount: str) -> int:
    if not (amount.isascii() and amount.isdigit() and len(amount) < 19):  # noqa: PLR2004 - fits 64 bits; the server says the most
        raise _wrong(text, f"{amount!r} is neither an amount nor unlimited")
    return int(amount)


def _window(text: str, words: str) -> types_pb2.Window:
    kind, _, rest = words.partition(":")
    if kind in _MOVING:
        return types_pb2.Window(kind=_MOVING[kind], length_ms=_length_ms(text, rest))
    period, _, time_zone = rest.partition(":")
    if kind not in _WINDOWS or (kind == "lifetime") != (not rest):
        raise _wrong(text, f"{words!r} is no window; write lifetime, or calendar:month and such")
    window = types_pb2.Window(kind=_WINDOWS[kind], time_zone=time_zone)
    if rest:
        if period not in _PERIODS:
            raise _wrong(text, f"{period!r} is no period; there are {', '.join(_PERIODS)}")
        window.period = _PERIODS[period]
    return window


def _length_ms(text: str, words: str) -> int:
    length_ms = parse_length(words)
    if length_ms is None:
        raise _wrong(text, f"{words!r} is no length from 1m to 366d; write 5h, 90m or 1d12h")
    return length_ms


def _wrong(text: str, problem: str) -> UsageError:
    return UsageError(f"--limit {text}: {problem}")
