"""Thresholds: parts of a limit, in percent, that others are told of when usage reaches them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NOTIFY_AT: Final = (50, 80, 100)
"""The parts of a limit that others are told of, unless the feature says otherwise."""


def percents_reached(notify_at: Iterable[int], used: int, limit: int) -> list[int]:
    """Return which parts of a limit are used, from the least; of a limit of 0 there are none."""
    if limit <= 0:
        return []
    return sorted(percent for percent in notify_at if used * 100 >= percent * limit)
