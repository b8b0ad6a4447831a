"""Amounts, ids and texts: what is valid, with one clear error where it is not."""

from __future__ import annotations

import re
from typing import Final

from weighbridge.rules.errors import InvalidArgumentError

AMOUNT_MAX: Final = 10**15
"""The largest amount of one call, in the feature's unit."""

COUNTER_MAX: Final = 2**63 - 1
"""The largest total of one window: a signed 64-bit integer, as databases store it."""

ID_LENGTH_MAX: Final = 128
KEY_LENGTH_MAX: Final = 256
DIMENSIONS_MAX: Final = 16
DIMENSION_VALUE_LENGTH_MAX: Final = 256
TRIAL_DAYS_MAX = 366
QUANTITY_MAX: Final = 1_000_000

_ID = re.compile(r"[A-Za-z0-9._:@/-]{1,128}", re.ASCII)
ID_RULE: Final = "1 to 128 characters of letters, digits and . _ - : @ /"


def is_id(text: str) -> bool:
    """Whether a text is a valid id: see `ID_RULE`."""
    return _ID.fullmatch(text) is not None


def require_id(field: str, text: str) -> str:
    """Return the id, or raise InvalidArgumentError naming the field."""
    if _ID.fullmatch(text) is None:
        problem = "is empty" if not text else f"is not an id ({len(text)} characters)"
        raise InvalidArgumentError(field, f"{problem}; an id is {ID_RULE}")
    return text


def require_optional_id(field: str, text: str) -> str:
    """Return the id or the empty text, or raise InvalidArgumentError naming the field."""
    return require_id(field, text) if text else text


def require_amount(field: str, amount: int) -> int:
    """Return the amount, or raise InvalidArgumentError unless 0 <= amount <= AMOUNT_MAX."""
    if 0 <= amount <= AMOUNT_MAX:
        return amount
    problem = "is negative" if amount < 0 else "is too large"
    raise InvalidArgumentError(field, f"{amount} {problem}; an amount is 0 to {AMOUNT_MAX}")


def require_signed_amount(field: str, amount: int) -> int:
    """Return the amount, or raise InvalidArgumentError unless its size is at most AMOUNT_MAX.

    Only what is acquired and released may be negative, which its feature says.
    """
    if -AMOUNT_MAX <= amount <= AMOUNT_MAX:
        return amount
    raise InvalidArgumentError(
        field, f"{amount} is too large; an amount is {-AMOUNT_MAX} to {AMOUNT_MAX}"
    )


def require_text(field: str, text: str, length_max: int) -> str:
    """Return the text, or raise InvalidArgumentError where it is too long or cannot be stored."""
    if len(text) > length_max:
        raise InvalidArgumentError(field, f"has {len(text)} characters; at most {length_max}")
    if "\0" in text:
        raise InvalidArgumentError(field, "has a NUL character, which no text may have")
    return text
