"""What was recorded, as it is replayed."""

from __future__ import annotations

from typing import NamedTuple

from weighbridge.rules.judging import Asked

Dimensions = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


class Event(NamedTuple):
    """Usage of one instant: one or more features that one call used, decided in this order."""

    customer: str
    plan: str
    at_ms: int
    asked: tuple[Asked, ...]
    dimensions: Dimensions = ()
