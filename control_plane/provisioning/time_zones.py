"""Time zones by their IANA name, as windows name them."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from control_plane.catalog.window_compiling import TIME_ZONES
from weighbridge.rules.errors import InvalidArgumentError


def require_time_zone(field: str, name: str) -> tzinfo:
    """Return the time zone of a name, or raise InvalidArgumentError naming the field."""
    if name == "UTC":
        return UTC
    if name not in TIME_ZONES:
        problem = f"{name[:64]!r} is not a time zone; use an IANA name such as Europe/Berlin"
        raise InvalidArgumentError(field, problem)
    return ZoneInfo(name)
