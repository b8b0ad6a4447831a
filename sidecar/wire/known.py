"""What the numbers and texts of the wire mean here, or InvalidArgumentError naming the field."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from weighbridge.rules.errors import InvalidArgumentError

T = TypeVar("T")


def known(table: Mapping[int, T], value: int, field: str) -> T:
    """Return the value of a number that this sidecar knows."""
    found = table.get(value)
    if found is None:
        raise InvalidArgumentError(field, f"{value} is not known to this sidecar")
    return found


def decimal_of(text: str, field: str) -> Decimal:
    """Return the decimal that a text writes."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise InvalidArgumentError(field, f"{text!r} is not a decimal") from error
