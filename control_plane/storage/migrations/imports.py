"""The first tables of imports: a part of revision 0001."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from control_plane.storage.types import key_text

TABLES: Final = [
    "import_event",
    "import_subscription",
    "import_reference",
    "import_grant",
    "import_refund",
]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "import_event",
        _word("source"),
        _key("event_id"),
        _key("type"),
        _id("customer_id"),
        _integer("created_at_ms"),
        _integer("received_at_ms"),
        _word("state"),
        sa.Column("reason", sa.String(512), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "event_id", name="pk_import_event"),
    )
    op.create_index(
        "ix_import_event_state", "import_event", ["state", "received_at_ms", "source", "event_id"]
    )
    _create_subscriptions()
    _create_purchases()


def _create_subscriptions() -> None:
    op.create_table(
        "import_subscription",
        _word("source"),
        _key("subscription_id"),
        _id("customer_id"),
        _id("resource_id"),
        _integer("began_at_ms"),
        _integer("terms_at_ms"),
        _integer("terms_rank"),
        _integer("payment_at_ms"),
        _integer("past_due_until_ms", nullable=True),
        sa.Column("is_ended", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("source", "subscription_id", name="pk_import_subscription"),
    )
    op.create_index(
        "ix_import_subscription_owner", "import_subscription", ["customer_id", "resource_id"]
    )


def _create_purchases() -> None:
    op.create_table(
        "import_reference",
        _word("source"),
        _key("reference"),
        _key("purchase_id"),
        sa.PrimaryKeyConstraint("source", "reference", name="pk_import_reference"),
    )
    op.create_table(
        "import_grant",
        _word("source"),
        _key("purchase_id"),
        _integer("position"),
        _id("customer_id"),
        _id("credit_type"),
        _integer("grant_id"),
        _integer("amount"),
        _integer("withdrawn"),
        sa.PrimaryKeyConstraint("source", "purchase_id", "position", name="pk_import_grant"),
    )
    op.create_table(
        "import_refund",
        _word("source"),
        _key("reference"),
        _integer("paid_minor"),
        _integer("refunded_minor"),
        sa.PrimaryKeyConstraint("source", "reference", name="pk_import_refund"),
    )


def _id(name: str) -> sa.Column[str]:
    return sa.Column(name, key_text(128), nullable=False)


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, key_text(256), nullable=False)


def _word(name: str) -> sa.Column[str]:
    return sa.Column(name, key_text(16), nullable=False)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)
