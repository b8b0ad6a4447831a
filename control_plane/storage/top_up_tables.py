"""The tables of automatic top-up. Instants are milliseconds since 1970 UTC; micro-credits."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    text,
)

from control_plane.storage.metadata import ID, KEY, WORD, metadata

IS_OPEN = "state = 'requested'"
"""Which orders are not answered."""

# What is to happen when a ledger's balance falls: as the customer's plan has it now. `told_micro`
# is the lowest threshold that was told and not left since; `next_at_ms`, when it is looked at
# again without a posting. No order begins before `not_before_ms`.
credit_watch = Table(
    "credit_watch",
    metadata,
    Column("customer_id", ID, ForeignKey("customer.id"), primary_key=True),
    Column("credit_type", ID, primary_key=True),
    Column("notify_below", JSON, nullable=False),
    Column("told_micro", BigInteger),
    # The plan's top-up; null: it has none.
    Column("top_up", JSON(none_as_null=True)),
    Column("open_order", ID),
    Column("failures", Integer, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("next_at_ms", BigInteger),
    Index(
        "ix_credit_watch_next",
        "next_at_ms",
        sqlite_where=text("next_at_ms IS NOT NULL"),
        postgresql_where=text("next_at_ms IS NOT NULL"),
    ),
)

# Who is asked to have orders paid, as the control plane was last started with: one row.
top_up_setting = Table(
    "top_up_setting",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("provider", WORD, nullable=False),
)

# Credits asked for, and what became of that. `number` counts the orders of a ledger from 1.
top_up_order = Table(
    "top_up_order",
    metadata,
    Column("id", ID, primary_key=True),
    Column("customer_id", ID, ForeignKey("customer.id"), nullable=False),
    Column("credit_type", ID, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("state", WORD, nullable=False),
    Column("amount", BigInteger, nullable=False),
    # Of the plan as it was then: threshold, target, priority, expiry, prices.
    Column("terms", JSON, nullable=False),
    # The calendar month (UTC) whose cap it counts under: its first instant.
    Column("month_ms", BigInteger, nullable=False),
    Column("requested_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Column("reason", String(256), nullable=False),
    Column("payment_id", KEY, unique=True),
    Column("currency", WORD),
    Column("price_minor", BigInteger),
    Column("grant_id", BigInteger),
    # For who asks the provider.
    Column("attempts", Integer, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("claimed_by", ID, nullable=False),
    Column("claimed_until_ms", BigInteger, nullable=False),
    Index(None, "customer_id", "credit_type", "number", unique=True),
    # At most one of a ledger, whoever writes.
    Index(
        "uq_top_up_order_open",
        "customer_id",
        "credit_type",
        unique=True,
        sqlite_where=text(IS_OPEN),
        postgresql_where=text(IS_OPEN),
    ),
    Index(
        "ix_top_up_order_due",
        "next_at_ms",
        sqlite_where=text(IS_OPEN),
        postgresql_where=text(IS_OPEN),
    ),
)
