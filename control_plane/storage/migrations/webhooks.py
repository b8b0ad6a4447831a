"""The tables of webhooks and top-ups, as the first migration makes them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from control_plane.storage.types import key_text

TABLES: Final = [
    "webhook_endpoint",
    "webhook_message",
    "webhook_delivery",
    "usage_threshold",
    "usage_threshold_progress",
    "credit_watch",
    "top_up_setting",
    "top_up_order",
]


def upgrade() -> None:
    """Make the tables."""
    _create_endpoints()
    _create_messages()
    _create_thresholds()
    _create_watches()
    _create_orders()


def _id(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, key_text(128), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)


def _create_endpoints() -> None:
    op.create_table(
        "webhook_endpoint",
        _id("id"),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("secret", sa.String(128), nullable=False),
        sa.Column("former_secret", sa.String(128)),
        _integer("former_until_ms", nullable=True),
        sa.Column("event_types", sa.JSON(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        _integer("created_at_ms"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoint"),
    )


def _create_messages() -> None:
    op.create_table(
        "webhook_message",
        _id("id"),
        sa.Column("event_type", key_text(64), nullable=False),
        _id("customer_id"),
        sa.Column("body", sa.Text(), nullable=False),
        _integer("created_at_ms"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_message"),
    )
    op.create_index("ix_webhook_message_created_at_ms", "webhook_message", ["created_at_ms"])
    op.create_table(
        "webhook_delivery",
        _id("endpoint_id"),
        _id("message_id"),
        sa.Column("state", key_text(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _integer("next_at_ms"),
        _integer("give_up_at_ms"),
        _id("claimed_by"),
        _integer("claimed_until_ms"),
        sa.Column("status_code", sa.Integer()),
        sa.Column("error", sa.String(256), nullable=False),
        _integer("created_at_ms"),
        _integer("ended_at_ms", nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoint.id"],
            name="fk_webhook_delivery_endpoint_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["webhook_message.id"], name="fk_webhook_delivery_message_id"
        ),
        sa.PrimaryKeyConstraint("endpoint_id", "message_id", name="pk_webhook_delivery"),
    )
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["endpoint_id", "next_at_ms"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_webhook_delivery_message_id", "webhook_delivery", ["message_id"])
    op.create_index(
        "ix_webhook_delivery_endpoint_id_created_at_ms",
        "webhook_delivery",
        ["endpoint_id", "created_at_ms"],
    )


def _create_thresholds() -> None:
    key = ("customer_id", "resource_id", "feature_id", "limit_id", "window_key")
    op.create_table(
        "usage_threshold",
        *(_id(name) for name in key),
        _integer("window_start_ms"),
        sa.Column("percent", sa.Integer(), autoincrement=False, nullable=False),
        _integer("limit_units"),
        _integer("window_end_ms", nullable=True),
        _integer("reached_at_ms"),
        sa.PrimaryKeyConstraint(*key, "window_start_ms", "percent", name="pk_usage_threshold"),
    )
    op.create_index("ix_usage_threshold_window_end_ms", "usage_threshold", ["window_end_ms"])
    op.create_table(
        "usage_threshold_progress",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        _integer("usage_revision"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_threshold_progress"),
    )


def _create_watches() -> None:
    op.create_table(
        "credit_watch",
        _id("customer_id"),
        _id("credit_type"),
        sa.Column("notify_below", sa.JSON(), nullable=False),
        _integer("told_micro", nullable=True),
        sa.Column("top_up", sa.JSON()),
        _id("open_order", nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        _integer("not_before_ms"),
        _integer("next_at_ms", nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_credit_watch_customer_id"
        ),
        sa.PrimaryKeyConstraint("customer_id", "credit_type", name="pk_credit_watch"),
    )
    op.create_index(
        "ix_credit_watch_next",
        "credit_watch",
        ["next_at_ms"],
        sqlite_where=sa.text("next_at_ms IS NOT NULL"),
        postgresql_where=sa.text("next_at_ms IS NOT NULL"),
    )
    op.create_table(
        "top_up_setting",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("provider", key_text(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_top_up_setting"),
    )


def _create_orders() -> None:
    op.create_table(
        "top_up_order",
        _id("id"),
        _id("customer_id"),
        _id("credit_type"),
        _integer("number"),
        sa.Column("state", key_text(16), nullable=False),
        _integer("amount"),
        sa.Column("terms", sa.JSON(), nullable=False),
        _integer("month_ms"),
        _integer("requested_at_ms"),
        _integer("ended_at_ms", nullable=True),
        sa.Column("reason", sa.String(256), nullable=False),
        sa.Column("payment_id", key_text(256)),
        sa.Column("currency", key_text(16)),
        _integer("price_minor", nullable=True),
        _integer("grant_id", nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _integer("next_at_ms"),
        _id("claimed_by"),
        _integer("claimed_until_ms"),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_top_up_order_customer_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_top_up_order"),
        sa.UniqueConstraint("payment_id", name="uq_top_up_order_payment_id"),
    )
    op.create_index(
        "ix_top_up_order_customer_id_credit_type_number",
        "top_up_order",
        ["customer_id", "credit_type", "number"],
        unique=True,
    )
    _create_order_indexes()


def _create_order_indexes() -> None:
    is_open = sa.text("state = 'requested'")
    op.create_index(
        "uq_top_up_order_open",
        "top_up_order",
        ["customer_id", "credit_type"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index(
        "ix_top_up_order_due",
        "top_up_order",
        ["next_at_ms"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
