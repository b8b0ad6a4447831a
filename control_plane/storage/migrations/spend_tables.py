"""The table of priced usage, as the first migration makes it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.storage.types import key_text


def create_spend_tables() -> None:
    op.create_table(
        "priced_usage",
        sa.Column("customer_id", key_text(128), nullable=False),
        sa.Column("resource_id", key_text(128), nullable=False),
        sa.Column("price", key_text(32), nullable=False),
        sa.Column("every", key_text(16), nullable=False),
        sa.Column("period_start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "customer_id",
            "resource_id",
            "price",
            "every",
            "period_start_ms",
            name="pk_priced_usage",
        ),
        sa.CheckConstraint("units >= 0", name="ck_priced_usage_units"),
    )
    op.create_index("ix_priced_usage_updated_at_ms", "priced_usage", ["updated_at_ms"])
