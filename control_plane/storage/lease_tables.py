"""The tables of leases. Instants are milliseconds since 1970 UTC; units those of the feature."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Table,
    UniqueConstraint,
    text,
)

from control_plane.storage.metadata import ID, KEY, WORD, metadata
from control_plane.storage.types import SERIAL

# What one limit of a customer or resource has in one window. `granted_limit` is what was put in:
# the limit as it was last posted (`limit_units`), plus what lowering it could not withdraw so far.
# `settled` is the window's total as last posted. Of a rolling window that is the sum of its
# buckets: those before `rolled_ms` have left it, and the next ones leave at `leaves_at_ms`.
lease_pool = Table(
    "lease_pool",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("customer_id", ID, nullable=False),
    Column("resource_id", ID, nullable=False),
    Column("feature_id", ID, nullable=False),
    Column("window_key", ID, nullable=False),
    Column("window_start_ms", BigInteger, nullable=False),
    Column("limit_id", ID, nullable=False),
    Column("window_end_ms", BigInteger),
    Column("granted_limit", BigInteger, nullable=False),
    Column("limit_units", BigInteger, nullable=False),
    Column("available", BigInteger, nullable=False),
    Column("overage", BigInteger, nullable=False),
    Column("settled", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("rolled_ms", BigInteger),
    Column("leaves_at_ms", BigInteger),
    Column("updated_at_ms", BigInteger, nullable=False),
    UniqueConstraint(
        "customer_id",
        "resource_id",
        "feature_id",
        "window_key",
        "window_start_ms",
        "limit_id",
        name="uq_lease_pool_limit",
    ),
    CheckConstraint(
        "limit_units >= 0 AND granted_limit >= limit_units"
        " AND available >= 0 AND overage >= 0 AND settled >= 0",
        name="ck_lease_pool_terms",
    ),
    Index(None, "window_end_ms"),
    Index(None, "leaves_at_ms"),
)

# What is spent of a rolling window, by the start of its bucket.
lease_bucket = Table(
    "lease_bucket",
    metadata,
    Column("pool_id", BigInteger, ForeignKey("lease_pool.id"), primary_key=True),
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("units", BigInteger, nullable=False),
    CheckConstraint("units > 0", name="ck_lease_bucket_units"),
)

# An epoch of a sidecar that has leases. They are spent until `until_ms`; those of an epoch that
# ended go back once its records are settled up to `closes_after`.
lease_holder = Table(
    "lease_holder",
    metadata,
    Column("sidecar_id", ID, primary_key=True),
    Column("epoch", ID, primary_key=True),
    Column("state", WORD, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("closes_after", BigInteger),
    # Records that it wrote may be gone: what its leases lack is presumed spent.
    Column("may_have_lost", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    Index(None, "state", "until_ms"),
)

# A part of a pool that one epoch of a sidecar may spend. The counters only grow, except `presumed`
# and `lapsed`. What is presumed spent of a rolling window comes back at `lapses_at_ms`: it counts
# as returned then, and as `lapsed` as long as late records may draw it still.
lease = Table(
    "lease",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("pool_id", BigInteger, ForeignKey("lease_pool.id"), nullable=False, index=True),
    Column("sidecar_id", ID, nullable=False),
    Column("epoch", ID, nullable=False),
    Column("granted", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False),
    Column("drawn", BigInteger, nullable=False),
    Column("presumed", BigInteger, nullable=False),
    # The limit it was last granted under.
    Column("limit_units", BigInteger, nullable=False),
    # The sidecar holds it no more: what is left goes back once this record is settled.
    Column("closes_after", BigInteger),
    Column("lapsed", BigInteger, nullable=False),
    Column("lapses_at_ms", BigInteger),
    Column("updated_at_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["sidecar_id", "epoch"], ["lease_holder.sidecar_id", "lease_holder.epoch"]
    ),
    CheckConstraint(
        "returned >= lapsed AND lapsed >= 0 AND drawn >= 0 AND presumed >= 0"
        " AND granted - returned - drawn - presumed >= 0",
        name="ck_lease_terms",
    ),
    Index(None, "sidecar_id", "epoch"),
    Index(None, "lapses_at_ms"),
    # At most one that is held, whoever writes.
    Index(
        "uq_lease_held",
        "pool_id",
        "sidecar_id",
        "epoch",
        unique=True,
        sqlite_where=text("closes_after IS NULL"),
        postgresql_where=text("closes_after IS NULL"),
    ),
    Index(
        "ix_lease_ending",
        "sidecar_id",
        "epoch",
        sqlite_where=text("closes_after IS NOT NULL"),
        postgresql_where=text("closes_after IS NOT NULL"),
    ),
)

# Units that an open reservation drew from a lease: neither with the sidecar to spend nor used.
lease_hold = Table(
    "lease_hold",
    metadata,
    Column("sidecar_id", ID, primary_key=True),
    Column("customer_id", ID, primary_key=True),
    Column("reservation", KEY, primary_key=True),
    Column("lease_id", BigInteger, primary_key=True, autoincrement=False),
    Column("pool_id", BigInteger, ForeignKey("lease_pool.id"), nullable=False, index=True),
    Column("units", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    # Its sidecar stays away: its units count as spent, until a record ends it.
    Column("is_presumed", Boolean, nullable=False),
    # Of a rolling window: when it would have come back, had it been spent at the deadline.
    Column("lapses_at_ms", BigInteger),
    CheckConstraint("units > 0", name="ck_lease_hold_units"),
    Index(None, "is_presumed", "expires_at_ms"),
    Index(None, "lapses_at_ms"),
)
