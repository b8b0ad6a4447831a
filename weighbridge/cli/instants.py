"""Instants and durations as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from weighbridge.cli.exit_codes import UsageError
from weighbridge.runtime.clock import wall_ms

_RELATIVE: Final = re.compile(r"(\+?)(\d{1,9})\s*([smhdw])(?:\s+ago)?", re.ASCII)
_SPAN: Final = re.compile(r"(\d{1,9})\s*([smhd])", re.ASCII)
_UNIT_MS: Final = {
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
}
INSTANT_HELP: Final = "ISO 8601 (UTC unless it says otherwise), or 30m, 24h, 7d ago, or +7d ahead"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def parse_instant(text: str) -> int:
    """Return an instant in Unix milliseconds. Raises a usage error that says what is understood."""
    if text == "now":
        return wall_ms()
    relative = _RELATIVE.fullmatch(text)
    if relative is not None:
        ahead, count, unit = relative.groups()
        span_ms = int(count) * _UNIT_MS[unit]
        return wall_ms() + span_ms if ahead else wall_ms() - span_ms
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no instant: write {INSTANT_HELP}") from None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MS


def parse_span(text: str) -> int:
    """Return a span such as `90s`, `5m` or `2h` in milliseconds. Raises a usage error."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no span: write such as 90s, 5m or 2h")
    count, unit = found.groups()
    return int(count) * _UNIT_MS[unit]


def format_instant(unix_ms: int) -> str:
    """Return an instant as `2026-11-23 18:05:00Z`."""
    try:
        instant = _EPOCH + timedelta(milliseconds=unix_ms)
    except OverflowError:
        return f"{unix_ms} ms"
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")


def format_duration(span_ms: int) -> str:
    """Return a duration by its two largest units, such as `6 d 4 h`; under a second in ms."""
    if abs(span_ms) < _UNIT_MS["s"]:
        return f"{span_ms} ms"
    units = [(unit, _UNIT_MS[unit]) for unit in ("d", "h", "m", "s")]
    parts, rest_ms = [], span_ms
    for unit, unit_ms in units:
        count, rest_ms = divmod(rest_ms, unit_ms)
        if count:
            parts.append(f"{count} {'min' if unit == 'm' else unit}")
    return " ".join(parts[:2])
