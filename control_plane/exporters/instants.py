"""Instants as other systems write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def iso_instant(at_ms: int) -> str:
    """Return an instant as `2026-11-23T18:05:00+00:00`."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="seconds")


def us_date(at_ms: int) -> str:
    """Return a day (UTC) as `11/23/2026`."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).strftime("%m/%d/%Y")
