"""A window as people read it."""

from __future__ import annotations

from weighbridge.cli.json_shapes import enum_label
from weighbridge.rules.window import length_text
from weighbridge.v1 import types_pb2


def window_text(window: types_pb2.Window) -> str:
    """Return a window as `calendar month`, with the zone where it is not UTC, or `rolling 5h`."""
    kind = enum_label(types_pb2.WindowKind.DESCRIPTOR, window.kind) or ""
    period = enum_label(types_pb2.WindowPeriod.DESCRIPTOR, window.period) or ""
    zone = "" if window.time_zone in {"", "UTC"} else window.time_zone
    length = length_text(window.length_ms)
    return " ".join(part for part in (kind.lower(), period.lower(), zone, length) if part)
