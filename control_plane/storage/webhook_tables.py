"""The tables of webhooks, and of what was told once. Instants are milliseconds since 1970 UTC."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from control_plane.storage.metadata import ID, WORD, metadata
from control_plane.storage.types import key_text

IS_PENDING = "state = 'pending'"
"""Which deliveries are still to be made."""

# Who is told. The secret is kept as it is: messages are signed with it.
webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("id", ID, primary_key=True),
    Column("url", String(2048), nullable=False),
    Column("secret", String(128), nullable=False),
    # Signs as well until then, after the secret was changed.
    Column("former_secret", String(128)),
    Column("former_until_ms", BigInteger),
    # Empty: every type.
    Column("event_types", JSON, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

# Immutable: written in the transaction of what it tells of. `body` is sent as it is, at each try.
webhook_message = Table(
    "webhook_message",
    metadata,
    Column("id", ID, primary_key=True),
    Column("event_type", key_text(64), nullable=False),
    Column("customer_id", ID, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False, index=True),
)

# What of which message came to an endpoint. `claimed_by` is the control plane that is sending it,
# until `claimed_until_ms`.
webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column(
        "endpoint_id", ID, ForeignKey("webhook_endpoint.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("message_id", ID, ForeignKey("webhook_message.id"), primary_key=True),
    Column("state", WORD, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("give_up_at_ms", BigInteger, nullable=False),
    Column("claimed_by", ID, nullable=False),
    Column("claimed_until_ms", BigInteger, nullable=False),
    # Of the last try; no code where nobody answered.
    Column("status_code", Integer),
    Column("error", String(256), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Index(
        "ix_webhook_delivery_due",
        "endpoint_id",
        "next_at_ms",
        sqlite_where=text(IS_PENDING),
        postgresql_where=text(IS_PENDING),
    ),
    Index(None, "message_id"),
    Index(None, "endpoint_id", "created_at_ms"),
)

# Which part of which limit was reached, and told, in which window; under which limit.
usage_threshold = Table(
    "usage_threshold",
    metadata,
    Column("customer_id", ID, primary_key=True),
    Column("resource_id", ID, primary_key=True),
    Column("feature_id", ID, primary_key=True),
    Column("limit_id", ID, primary_key=True),
    Column("window_key", ID, primary_key=True),
    Column("window_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("percent", Integer, primary_key=True, autoincrement=False),
    Column("limit_units", BigInteger, nullable=False),
    Column("window_end_ms", BigInteger),
    Column("reached_at_ms", BigInteger, nullable=False),
    Index(None, "window_end_ms"),
)

# Up to which usage revision totals were looked at for thresholds: one row.
usage_threshold_progress = Table(
    "usage_threshold_progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("usage_revision", BigInteger, nullable=False),
)
