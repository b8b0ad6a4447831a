"""What a request may hold, beyond what `weighbridge.rules.units` says of amounts and ids."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from weighbridge.rules.errors import InvalidArgumentError

INSTANT_MS_MAX: Final = 7_258_118_400_000
"""2200-01-01: windows are worked out with calendar arithmetic, which ends in the year 9999."""

NAME_LENGTH_MAX: Final = 256
RESOURCES_MAX: Final = 1_000
ADD_ONS_MAX: Final = 100
LIMITS_MAX: Final = 16
VALUES_MAX: Final = 256


def require_instant(field: str, instant_ms: int) -> int:
    """Return the instant, or raise InvalidArgumentError unless 0 <= instant <= INSTANT_MS_MAX."""
    if 0 <= instant_ms <= INSTANT_MS_MAX:
        return instant_ms
    problem = "is negative" if instant_ms < 0 else "is too far ahead"
    raise InvalidArgumentError(
        field, f"{instant_ms} {problem}; an instant is milliseconds since 1970, before 2200"
    )


def require_few(field: str, items: Sequence[object], count_max: int) -> None:
    """Raise InvalidArgumentError where there are too many."""
    if len(items) > count_max:
        raise InvalidArgumentError(field, f"has {len(items)} items; at most {count_max}")


def require_distinct(field: str, items: Iterable[Hashable]) -> None:
    """Raise InvalidArgumentError naming the first that is there twice."""
    seen: set[Hashable] = set()
    for item in items:
        if item in seen:
            raise InvalidArgumentError(field, f"names {item!r} twice")
        seen.add(item)


def named_few(names: Iterable[str], count_max: int = 10) -> str:
    """Join names for a message; of many, the first few."""
    listed = list(names)
    text = ", ".join(listed[:count_max]) or "none"
    return f"{text}, ..." if len(listed) > count_max else text
