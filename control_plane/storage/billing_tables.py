"""The tables of statements. Instants are milliseconds since 1970 UTC; money in minor units."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Table

from control_plane.storage.append_only import refuse_changes
from control_plane.storage.metadata import ID, WORD, metadata

# What a subscription was on until it was pinned, or had to follow again: its row says what it is on
# since.
subscription_before = Table(
    "subscription_before",
    metadata,
    Column("subscription_id", ID, ForeignKey("subscription.id"), primary_key=True),
    Column("until_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("plan_version", BigInteger),
    Column("on_plan_since_ms", BigInteger, nullable=False),
)

# Append only. Statements that were closed, and their corrections: number 1 is the statement, each
# higher one has what the one before it lacked. `document` has the lines as they were shown.
statement = Table(
    "statement",
    metadata,
    Column("customer_id", ID, ForeignKey("customer.id"), primary_key=True),
    Column("from_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("to_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("currency", WORD, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("closed_at_ms", BigInteger, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("document", JSON, nullable=False),
)

refuse_changes(statement)
