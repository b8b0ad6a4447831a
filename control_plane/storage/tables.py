"""The tables of one environment. Instants are milliseconds since 1970 UTC; amounts integers."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from control_plane.storage.metadata import ID, KEY, WORD, metadata
from control_plane.storage.types import SERIAL, key_text

_Id, _Key, _Word = ID, KEY, WORD

# One row: the revision that every change to a catalog or customer moves by one, and the one that
# every transaction that settles usage moves by one.
environment = Table(
    "environment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("usage_revision", BigInteger, nullable=False, server_default="0"),
    Column("created_at_ms", BigInteger, nullable=False),
)

# One row per start of the control plane, with the revisions it found.
incarnation = Table(
    "incarnation",
    metadata,
    Column("number", SERIAL, primary_key=True),
    Column("id", _Id, nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    Column("usage_revision", BigInteger, nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
)

# Bearer tokens, by SHA-256 digest only.
access_token = Table(
    "access_token",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("name", _Id, nullable=False),
    Column("role", _Word, nullable=False),
    Column("digest", key_text(64), nullable=False, unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
)

catalog = Table(
    "catalog",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("current_version", BigInteger, nullable=False),
    # How often older plan versions were added to what sidecars get of the current version.
    Column("addition", BigInteger, nullable=False),
)

# Immutable: the document as it was applied.
catalog_version = Table(
    "catalog_version",
    metadata,
    Column("catalog_id", _Id, ForeignKey("catalog.id"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("applied_at_ms", BigInteger, nullable=False),
    # The version whose document was applied again.
    Column("restores", BigInteger),
)

# At most one of a catalog: a document that sidecars evaluate beside the current version.
catalog_draft = Table(
    "catalog_draft",
    metadata,
    Column("catalog_id", _Id, ForeignKey("catalog.id"), primary_key=True),
    # The revision that put it.
    Column("number", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("source_name", String(256), nullable=False),
)

# Which catalog version made which version of a plan; the content is in its document. Immutable,
# except that a migration that holds nobody back any more becomes `now`.
plan_version = Table(
    "plan_version",
    metadata,
    Column("catalog_id", _Id, primary_key=True),
    Column("plan_id", _Id, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("catalog_version", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("migration", _Word, nullable=False),
    # As it was applied: what was charged under it is worked out by this one.
    Column("applied_migration", _Word, nullable=False),
    ForeignKeyConstraint(
        ["catalog_id", "catalog_version"],
        ["catalog_version.catalog_id", "catalog_version.version"],
    ),
)

customer = Table(
    "customer",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(256), nullable=False),
    Column("catalog_id", _Id, ForeignKey("catalog.id"), nullable=False, index=True),
    Column("status", _Word, nullable=False),
    Column("version", BigInteger, nullable=False, index=True),
    Column("created_at_ms", BigInteger, nullable=False),
    # Never changes: usage is counted with those above.
    Column("parent_id", _Id, ForeignKey("customer.id"), index=True),
)

# Everybody above a customer: its parent at depth 1. Made with the customer.
customer_ancestor = Table(
    "customer_ancestor",
    metadata,
    Column("customer_id", _Id, ForeignKey("customer.id"), primary_key=True),
    Column("ancestor_id", _Id, ForeignKey("customer.id"), primary_key=True),
    Column("depth", Integer, nullable=False),
    Index("ix_customer_ancestor_below", "ancestor_id", "customer_id"),
)

resource = Table(
    "resource",
    metadata,
    Column("customer_id", _Id, ForeignKey("customer.id"), primary_key=True),
    Column("id", _Id, primary_key=True),
)

# Subscriptions of a customer (resource_id "") or resource, one after the other; ended ones stay.
subscription = Table(
    "subscription",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("customer_id", _Id, ForeignKey("customer.id"), nullable=False, index=True),
    Column("resource_id", _Id, nullable=False),
    Column("plan_id", _Id, nullable=False, index=True),
    Column("plan_version", BigInteger),
    Column("status", _Word, nullable=False),
    Column("status_until_ms", BigInteger),
    Column("anchor_ms", BigInteger, nullable=False),
    Column("starts_at_ms", BigInteger, nullable=False),
    Column("ends_at_ms", BigInteger),
    # Whatever add-ons changed since.
    Column("on_plan_since_ms", BigInteger, nullable=False),
    Column("is_trial", Boolean, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # At most one without an end, whoever writes.
    Index(
        "uq_subscription_open",
        "customer_id",
        "resource_id",
        unique=True,
        sqlite_where=text("status <> 'canceled' AND ends_at_ms IS NULL"),
        postgresql_where=text("status <> 'canceled' AND ends_at_ms IS NULL"),
    ),
    Index(
        "ix_subscription_plan_version",
        "plan_id",
        "plan_version",
        sqlite_where=text("plan_version IS NOT NULL"),
        postgresql_where=text("plan_version IS NOT NULL"),
    ),
)

subscription_add_on = Table(
    "subscription_add_on",
    metadata,
    Column("subscription_id", _Id, ForeignKey("subscription.id"), primary_key=True),
    Column("add_on_id", _Id, primary_key=True, index=True),
    Column("quantity", BigInteger, nullable=False),
)

override = Table(
    "override",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("customer_id", _Id, ForeignKey("customer.id"), nullable=False),
    Column("resource_id", _Id, nullable=False),
    Column("feature_id", _Id, nullable=False),
    Column("entitlement", JSON, nullable=False),
    Column("starts_at_ms", BigInteger),
    Column("expires_at_ms", BigInteger),
    UniqueConstraint("customer_id", "resource_id", "feature_id"),
)

# One row per start of a sidecar. `number` is the high-water mark: every record up to it is settled.
# Two epochs with one predecessor are a copied data directory; the constraint refuses the second.
usage_epoch = Table(
    "usage_epoch",
    metadata,
    Column("sidecar_id", _Id, primary_key=True),
    Column("epoch", _Id, primary_key=True),
    Column("predecessor", _Id, nullable=False),
    Column("boot_id", _Id, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    UniqueConstraint("sidecar_id", "predecessor"),
)

usage_record = Table(
    "usage_record",
    metadata,
    Column("sidecar_id", _Id, primary_key=True),
    Column("epoch", _Id, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
)

usage_event = Table(
    "usage_event",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("sidecar_id", _Id, nullable=False),
    Column("epoch", _Id, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("customer_id", _Id, nullable=False),
    Column("resource_id", _Id, nullable=False),
    Column("feature_id", _Id, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("occurred_at_ms", BigInteger, nullable=False),
    Column("kind", _Word, nullable=False),
    Column("dimensions", JSON(none_as_null=True)),
    Column("idempotency_key", _Key),
    Column("catalog_version", BigInteger, nullable=False),
    Column("snapshot_version", BigInteger, nullable=False),
    Index("ix_usage_event_counter", "customer_id", "feature_id", "resource_id", "occurred_at_ms"),
    Index(None, "occurred_at_ms"),
)

# Usage that could not be applied, kept whole for a person to look at.
usage_set_aside = Table(
    "usage_set_aside",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("sidecar_id", _Id, nullable=False),
    Column("epoch", _Id, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("reason", key_text(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
)

# Idempotency keys of scope `fleet`, for 24 hours.
usage_key = Table(
    "usage_key",
    metadata,
    Column("customer_id", _Id, primary_key=True),
    Column("idempotency_key", _Key, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False, index=True),
)

# Which totals say that more was released than acquired; there should be none for long.
OVERDRAWN = "total < 0"

# Units settled per window, with the usage revision that last changed them: what a sidecar that
# comes back has missed. A row is made, with all earlier events of its window, when usage first
# reaches the window; from then on each settled event adds to it in the same transaction.
usage_total = Table(
    "usage_total",
    metadata,
    Column("customer_id", _Id, primary_key=True),
    Column("resource_id", _Id, primary_key=True),
    Column("feature_id", _Id, primary_key=True),
    Column("window_key", _Id, primary_key=True),
    Column("window_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("total", BigInteger, nullable=False),
    Column("usage_revision", BigInteger, nullable=False, server_default="0", index=True),
    Index(
        "ix_usage_total_overdrawn",
        "customer_id",
        sqlite_where=text(OVERDRAWN),
        postgresql_where=text(OVERDRAWN),
    ),
)
