"""Types of columns that mean the same on every engine."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

SERIAL: Final = BigInteger().with_variant(Integer, "sqlite")
"""A number that the engine gives out; SQLite does so only for what it calls INTEGER."""


def key_text(length: int) -> TypeEngine[str]:
    """Return the type of a text that rows are found and ordered by: compared by its bytes.

    PostgreSQL would compare by the rules of a language, which differ between servers, and change
    under an index when the server's operating system is renewed.
    """
    by_bytes = postgresql.VARCHAR(length, collation="C")
    return String(length).with_variant(by_bytes, "postgresql")
