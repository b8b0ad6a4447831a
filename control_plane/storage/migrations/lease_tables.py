"""The tables of leases, as the first migration makes them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.storage.types import SERIAL, key_text


def create_lease_tables() -> None:
    _create_pools()
    _create_buckets()
    _create_holders()
    _create_leases()
    _create_holds()


def _id(name: str) -> sa.Column[str]:
    return sa.Column(name, key_text(128), nullable=False)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)


def _create_pools() -> None:
    op.create_table(
        "lease_pool",
        sa.Column("id", SERIAL, nullable=False),
        _id("customer_id"),
        _id("resource_id"),
        _id("feature_id"),
        _id("window_key"),
        _integer("window_start_ms"),
        _id("limit_id"),
        _integer("window_end_ms", nullable=True),
        _integer("granted_limit"),
        _integer("limit_units"),
        _integer("available"),
        _integer("overage"),
        _integer("settled"),
        _integer("version"),
        _integer("rolled_ms", nullable=True),
        _integer("leaves_at_ms", nullable=True),
        _integer("updated_at_ms"),
        sa.PrimaryKeyConstraint("id", name="pk_lease_pool"),
        sa.UniqueConstraint(
            "customer_id",
            "resource_id",
            "feature_id",
            "window_key",
            "window_start_ms",
            "limit_id",
            name="uq_lease_pool_limit",
        ),
        sa.CheckConstraint(
            "limit_units >= 0 AND granted_limit >= limit_units"
            " AND available >= 0 AND overage >= 0 AND settled >= 0",
            name="ck_lease_pool_terms",
        ),
    )
    op.create_index("ix_lease_pool_window_end_ms", "lease_pool", ["window_end_ms"])
    op.create_index("ix_lease_pool_leaves_at_ms", "lease_pool", ["leaves_at_ms"])


def _create_buckets() -> None:
    op.create_table(
        "lease_bucket",
        _integer("pool_id"),
        _integer("start_ms"),
        _integer("units"),
        sa.ForeignKeyConstraint(["pool_id"], ["lease_pool.id"], name="fk_lease_bucket_pool_id"),
        sa.PrimaryKeyConstraint("pool_id", "start_ms", name="pk_lease_bucket"),
        sa.CheckConstraint("units > 0", name="ck_lease_bucket_units"),
    )


def _create_holders() -> None:
    op.create_table(
        "lease_holder",
        _id("sidecar_id"),
        _id("epoch"),
        sa.Column("state", key_text(16), nullable=False),
        _integer("until_ms"),
        _integer("closes_after", nullable=True),
        sa.Column("may_have_lost", sa.Boolean(), nullable=False),
        _integer("created_at_ms"),
        _integer("seen_at_ms"),
        sa.PrimaryKeyConstraint("sidecar_id", "epoch", name="pk_lease_holder"),
    )
    op.create_index("ix_lease_holder_state_until_ms", "lease_holder", ["state", "until_ms"])


def _create_leases() -> None:
    op.create_table(
        "lease",
        _integer("id"),
        _integer("pool_id"),
        _id("sidecar_id"),
        _id("epoch"),
        _integer("granted"),
        _integer("returned"),
        _integer("drawn"),
        _integer("presumed"),
        _integer("limit_units"),
        _integer("closes_after", nullable=True),
        _integer("lapsed"),
        _integer("lapses_at_ms", nullable=True),
        _integer("updated_at_ms"),
        sa.ForeignKeyConstraint(["pool_id"], ["lease_pool.id"], name="fk_lease_pool_id"),
        sa.ForeignKeyConstraint(
            ["sidecar_id", "epoch"],
            ["lease_holder.sidecar_id", "lease_holder.epoch"],
            name="fk_lease_sidecar_id_epoch",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_lease"),
        sa.CheckConstraint(
            "returned >= lapsed AND lapsed >= 0 AND drawn >= 0 AND presumed >= 0"
            " AND granted - returned - drawn - presumed >= 0",
            name="ck_lease_terms",
        ),
    )
    op.create_index("ix_lease_pool_id", "lease", ["pool_id"])
    op.create_index("ix_lease_lapses_at_ms", "lease", ["lapses_at_ms"])
    op.create_index("ix_lease_sidecar_id_epoch", "lease", ["sidecar_id", "epoch"])
    op.create_index(
        "uq_lease_held",
        "lease",
        ["pool_id", "sidecar_id", "epoch"],
        unique=True,
        sqlite_where=sa.text("closes_after IS NULL"),
        postgresql_where=sa.text("closes_after IS NULL"),
    )
    op.create_index(
        "ix_lease_ending",
        "lease",
        ["sidecar_id", "epoch"],
        sqlite_where=sa.text("closes_after IS NOT NULL"),
        postgresql_where=sa.text("closes_after IS NOT NULL"),
    )


def _create_holds() -> None:
    op.create_table(
        "lease_hold",
        _id("sidecar_id"),
        _id("customer_id"),
        sa.Column("reservation", key_text(256), nullable=False),
        _integer("lease_id"),
        _integer("pool_id"),
        _integer("units"),
        _integer("expires_at_ms"),
        sa.Column("is_presumed", sa.Boolean, nullable=False),
        _integer("lapses_at_ms", nullable=True),
        sa.ForeignKeyConstraint(["pool_id"], ["lease_pool.id"], name="fk_lease_hold_pool_id"),
        sa.PrimaryKeyConstraint(
            "sidecar_id", "customer_id", "reservation", "lease_id", name="pk_lease_hold"
        ),
        sa.CheckConstraint("units > 0", name="ck_lease_hold_units"),
    )
    op.create_index("ix_lease_hold_pool_id", "lease_hold", ["pool_id"])
    op.create_index(
        "ix_lease_hold_is_presumed_expires_at_ms", "lease_hold", ["is_presumed", "expires_at_ms"]
    )
    op.create_index("ix_lease_hold_lapses_at_ms", "lease_hold", ["lapses_at_ms"])
