"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.storage.migrations import billing, exports, imports, ledger, webhooks
from control_plane.storage.migrations.lease_tables import create_lease_tables
from control_plane.storage.migrations.spend_tables import create_spend_tables
from control_plane.storage.types import SERIAL, key_text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = [
    "environment",
    "incarnation",
    "access_token",
    "catalog",
    "catalog_draft",
    "catalog_version",
    "plan_version",
    "customer",
    "resource",
    "subscription",
    "subscription_add_on",
    "override",
    "usage_epoch",
    "usage_record",
    "usage_event",
    "usage_set_aside",
    "usage_key",
    "usage_total",
    "lease_pool",
    "lease_bucket",
    "lease_holder",
    "lease",
    "lease_hold",
    "priced_usage",
    *ledger.TABLES,
    *billing.TABLES,
    *exports.TABLES,
    *imports.TABLES,
    *webhooks.TABLES,
]


def upgrade() -> None:
    _create_environment()
    _create_catalogs()
    _create_customers()
    _create_subscriptions()
    _create_overrides()
    _create_usage_records()
    _create_usage_events()
    _create_usage_keys()
    _create_usage_totals()
    create_lease_tables()
    create_spend_tables()
    ledger.upgrade()
    billing.upgrade()
    exports.upgrade()
    imports.upgrade()
    webhooks.upgrade()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    ledger.forget_function()


def _id(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, key_text(128), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)


def _serial(name: str) -> sa.Column[int]:
    return sa.Column(name, SERIAL, nullable=False)


def _create_environment() -> None:
    op.create_table(
        "environment",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        _integer("revision"),
        sa.Column("usage_revision", sa.BigInteger(), server_default="0", nullable=False),
        _integer("created_at_ms"),
        sa.PrimaryKeyConstraint("id", name="pk_environment"),
    )
    op.create_table(
        "incarnation",
        _serial("number"),
        _id("id"),
        _integer("revision"),
        _integer("usage_revision"),
        _integer("began_at_ms"),
        sa.PrimaryKeyConstraint("number", name="pk_incarnation"),
        sa.UniqueConstraint("id", name="uq_incarnation_id"),
    )
    op.create_table(
        "access_token",
        _serial("id"),
        _id("name"),
        sa.Column("role", key_text(16), nullable=False),
        sa.Column("digest", key_text(64), nullable=False),
        _integer("created_at_ms"),
        _integer("revoked_at_ms", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_access_token"),
        sa.UniqueConstraint("digest", name="uq_access_token_digest"),
    )


def _create_catalogs() -> None:
    op.create_table(
        "catalog",
        _id("id"),
        _integer("current_version"),
        _integer("addition"),
        sa.PrimaryKeyConstraint("id", name="pk_catalog"),
    )
    op.create_table(
        "catalog_version",
        _id("catalog_id"),
        _integer("version"),
        sa.Column("document", sa.Text(), nullable=False),
        _integer("revision"),
        _integer("applied_at_ms"),
        _integer("restores", nullable=True),
        sa.ForeignKeyConstraint(
            ["catalog_id"], ["catalog.id"], name="fk_catalog_version_catalog_id"
        ),
        sa.PrimaryKeyConstraint("catalog_id", "version", name="pk_catalog_version"),
    )
    op.create_table(
        "catalog_draft",
        _id("catalog_id"),
        _integer("number"),
        _integer("created_at_ms"),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("source_name", sa.String(256), nullable=False),
        sa.ForeignKeyConstraint(["catalog_id"], ["catalog.id"], name="fk_catalog_draft_catalog_id"),
        sa.PrimaryKeyConstraint("catalog_id", name="pk_catalog_draft"),
    )
    op.create_table(
        "plan_version",
        _id("catalog_id"),
        _id("plan_id"),
        _integer("version"),
        _integer("catalog_version"),
        _integer("since_ms"),
        sa.Column("migration", key_text(16), nullable=False),
        sa.Column("applied_migration", key_text(16), nullable=False),
        sa.ForeignKeyConstraint(
            ["catalog_id", "catalog_version"],
            ["catalog_version.catalog_id", "catalog_version.version"],
            name="fk_plan_version_catalog_id_catalog_version",
        ),
        sa.PrimaryKeyConstraint("catalog_id", "plan_id", "version", name="pk_plan_version"),
    )


def _create_customers() -> None:
    op.create_table(
        "customer",
        _id("id"),
        sa.Column("name", sa.String(256), nullable=False),
        _id("catalog_id"),
        sa.Column("status", key_text(16), nullable=False),
        _integer("version"),
        _integer("created_at_ms"),
        _id("parent_id", nullable=True),
        sa.ForeignKeyConstraint(["catalog_id"], ["catalog.id"], name="fk_customer_catalog_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["customer.id"], name="fk_customer_parent_id"),
        sa.PrimaryKeyConstraint("id", name="pk_customer"),
    )
    op.create_index("ix_customer_parent_id", "customer", ["parent_id"])
    op.create_index("ix_customer_catalog_id", "customer", ["catalog_id"])
    op.create_index("ix_customer_version", "customer", ["version"])
    op.create_table(
        "customer_ancestor",
        _id("customer_id"),
        _id("ancestor_id"),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_customer_ancestor_customer_id"
        ),
        sa.ForeignKeyConstraint(
            ["ancestor_id"], ["customer.id"], name="fk_customer_ancestor_ancestor_id"
        ),
        sa.PrimaryKeyConstraint("customer_id", "ancestor_id", name="pk_customer_ancestor"),
    )
    op.create_index(
        "ix_customer_ancestor_below", "customer_ancestor", ["ancestor_id", "customer_id"]
    )
    op.create_table(
        "resource",
        _id("customer_id"),
        _id("id"),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="fk_resource_customer_id"),
        sa.PrimaryKeyConstraint("customer_id", "id", name="pk_resource"),
    )


def _create_subscriptions() -> None:
    op.create_table(
        "subscription",
        _id("id"),
        _id("customer_id"),
        _id("resource_id"),
        _id("plan_id"),
        _integer("plan_version", nullable=True),
        sa.Column("status", key_text(16), nullable=False),
        _integer("status_until_ms", nullable=True),
        _integer("anchor_ms"),
        _integer("starts_at_ms"),
        _integer("ends_at_ms", nullable=True),
        _integer("on_plan_since_ms"),
        sa.Column("is_trial", sa.Boolean(), nullable=False),
        _integer("quantity"),
        _integer("created_at_ms"),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_subscription_customer_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_subscription"),
    )
    op.create_index("ix_subscription_customer_id", "subscription", ["customer_id"])
    op.create_index("ix_subscription_plan_id", "subscription", ["plan_id"])
    op.create_index(
        "uq_subscription_open",
        "subscription",
        ["customer_id", "resource_id"],
        unique=True,
        sqlite_where=sa.text("status <> 'canceled' AND ends_at_ms IS NULL"),
        postgresql_where=sa.text("status <> 'canceled' AND ends_at_ms IS NULL"),
    )
    op.create_index(
        "ix_subscription_plan_version",
        "subscription",
        ["plan_id", "plan_version"],
        sqlite_where=sa.text("plan_version IS NOT NULL"),
        postgresql_where=sa.text("plan_version IS NOT NULL"),
    )
    op.create_table(
        "subscription_add_on",
        _id("subscription_id"),
        _id("add_on_id"),
        _integer("quantity"),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscription.id"],
            name="fk_subscription_add_on_subscription_id",
        ),
        sa.PrimaryKeyConstraint("subscription_id", "add_on_id", name="pk_subscription_add_on"),
    )
    op.create_index("ix_subscription_add_on_add_on_id", "subscription_add_on", ["add_on_id"])


def _create_overrides() -> None:
    op.create_table(
        "override",
        _id("id"),
        _id("customer_id"),
        _id("resource_id"),
        _id("feature_id"),
        sa.Column("entitlement", sa.JSON(), nullable=False),
        _integer("starts_at_ms", nullable=True),
        _integer("expires_at_ms", nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="fk_override_customer_id"),
        sa.PrimaryKeyConstraint("id", name="pk_override"),
        sa.UniqueConstraint(
            "customer_id",
            "resource_id",
            "feature_id",
            name="uq_override_customer_id_resource_id_feature_id",
        ),
    )


def _create_usage_records() -> None:
    op.create_table(
        "usage_epoch",
        _id("sidecar_id"),
        _id("epoch"),
        _id("predecessor"),
        _id("boot_id"),
        _integer("number"),
        _integer("created_at_ms"),
        _integer("seen_at_ms"),
        sa.PrimaryKeyConstraint("sidecar_id", "epoch", name="pk_usage_epoch"),
        sa.UniqueConstraint(
            "sidecar_id", "predecessor", name="uq_usage_epoch_sidecar_id_predecessor"
        ),
    )
    op.create_table(
        "usage_record",
        _id("sidecar_id"),
        _id("epoch"),
        _integer("number"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        _integer("received_at_ms"),
        sa.PrimaryKeyConstraint("sidecar_id", "epoch", "number", name="pk_usage_record"),
    )
    op.create_table(
        "usage_set_aside",
        _serial("id"),
        _id("sidecar_id"),
        _id("epoch"),
        _integer("number"),
        sa.Column("reason", key_text(32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        _integer("received_at_ms"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_set_aside"),
    )


def _create_usage_events() -> None:
    op.create_table(
        "usage_event",
        _serial("id"),
        _id("sidecar_id"),
        _id("epoch"),
        _integer("number"),
        _id("customer_id"),
        _id("resource_id"),
        _id("feature_id"),
        _integer("amount"),
        _integer("calls"),
        _integer("occurred_at_ms"),
        sa.Column("kind", key_text(16), nullable=False),
        sa.Column("dimensions", sa.JSON(none_as_null=True)),
        sa.Column("idempotency_key", key_text(256)),
        _integer("catalog_version"),
        _integer("snapshot_version"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_event"),
    )
    op.create_index(
        "ix_usage_event_counter",
        "usage_event",
        ["customer_id", "feature_id", "resource_id", "occurred_at_ms"],
    )
    op.create_index("ix_usage_event_occurred_at_ms", "usage_event", ["occurred_at_ms"])


def _create_usage_keys() -> None:
    op.create_table(
        "usage_key",
        _id("customer_id"),
        sa.Column("idempotency_key", key_text(256), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        _integer("expires_at_ms"),
        sa.PrimaryKeyConstraint("customer_id", "idempotency_key", name="pk_usage_key"),
    )
    op.create_index("ix_usage_key_expires_at_ms", "usage_key", ["expires_at_ms"])


def _create_usage_totals() -> None:
    op.create_table(
        "usage_total",
        _id("customer_id"),
        _id("resource_id"),
        _id("feature_id"),
        _id("window_key"),
        _integer("window_start_ms"),
        _integer("total"),
        sa.Column("usage_revision", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint(
            "customer_id",
            "resource_id",
            "feature_id",
            "window_key",
            "window_start_ms",
            name="pk_usage_total",
        ),
    )
    op.create_index("ix_usage_total_usage_revision", "usage_total", ["usage_revision"])
    op.create_index(
        "ix_usage_total_overdrawn",
        "usage_total",
        ["customer_id"],
        sqlite_where=sa.text("total < 0"),
        postgresql_where=sa.text("total < 0"),
    )
