"""The first tables of statements: a part of revision 0001."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from control_plane.storage.append_only import append_only_triggers
from control_plane.storage.types import key_text

TABLES: Final = ["subscription_before", "statement"]


def upgrade() -> None:
    """Make the tables, and have statements stay."""
    op.create_table(
        "subscription_before",
        sa.Column("subscription_id", key_text(128), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("plan_version", sa.BigInteger()),
        sa.Column("on_plan_since_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscription.id"],
            name="fk_subscription_before_subscription_id",
        ),
        sa.PrimaryKeyConstraint("subscription_id", "until_ms", name="pk_subscription_before"),
    )
    op.create_table(
        "statement",
        sa.Column("customer_id", key_text(128), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("currency", key_text(16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="fk_statement_customer_id"),
        sa.PrimaryKeyConstraint(
            "customer_id", "from_ms", "to_ms", "currency", "number", name="pk_statement"
        ),
    )
    for statement in append_only_triggers(op.get_bind().dialect.name, "statement"):
        op.execute(statement)
