"""The first tables of the credit ledger: a part of revision 0001."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from control_plane.storage.append_only import (
    CREATE_FUNCTION,
    DROP_FUNCTION,
    append_only_triggers,
)
from control_plane.storage.types import key_text

TABLES: Final = [
    "credit_balance",
    "ledger_transaction",
    "ledger_entry",
    "credit_grant",
    "credit_tranche",
    "credit_schedule",
    "credit_progress",
]

# What a grant is, apart from what is left of it.
GRANT_TERMS = [
    "customer_id",
    "credit_type",
    "id",
    "kind",
    "amount",
    "priority",
    "effective_at_ms",
    "expires_at_ms",
    "series",
    "rollover_cap",
    "period_end_ms",
    "currency",
    "price_minor",
]


def upgrade() -> None:
    """Make the tables, and have their rows stay."""
    _create_balances()
    _create_transactions()
    _create_entries()
    _create_credit_grants()
    _create_releases()
    _keep_rows()


def forget_function() -> None:
    """Remove what the tables left behind."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(DROP_FUNCTION)


def _id(name: str) -> sa.Column[str]:
    return sa.Column(name, key_text(128), nullable=False)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)


def _create_balances() -> None:
    op.create_table(
        "credit_balance",
        _id("customer_id"),
        _id("credit_type"),
        _integer("number"),
        _integer("granted"),
        _integer("overage"),
        _integer("settled"),
        _integer("presumed"),
        _integer("expired"),
        _integer("withdrawn"),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_credit_balance_customer_id"
        ),
        sa.PrimaryKeyConstraint("customer_id", "credit_type", name="pk_credit_balance"),
    )


def _create_transactions() -> None:
    op.create_table(
        "ledger_transaction",
        _id("customer_id"),
        _id("credit_type"),
        _integer("number"),
        sa.Column("key", key_text(256), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("kind", key_text(16), nullable=False),
        _integer("amount"),
        _integer("occurred_at_ms"),
        _integer("booked_at_ms"),
        _integer("reverses", nullable=True),
        sa.Column("event_key", key_text(256)),
        sa.Column("sidecar_id", key_text(128)),
        sa.Column("epoch", key_text(128)),
        _integer("record_number", nullable=True),
        sa.Column("note", sa.String(256), nullable=False),
        sa.UniqueConstraint("customer_id", "key", name="uq_ledger_transaction_customer_id_key"),
        sa.ForeignKeyConstraint(
            ["customer_id", "credit_type"],
            ["credit_balance.customer_id", "credit_balance.credit_type"],
            name="fk_ledger_transaction_customer_id_credit_type",
        ),
        sa.PrimaryKeyConstraint(
            "customer_id", "credit_type", "number", name="pk_ledger_transaction"
        ),
    )
    op.create_index(
        "ix_ledger_transaction_event", "ledger_transaction", ["customer_id", "event_key"]
    )
    op.create_index(
        "uq_ledger_transaction_reversal",
        "ledger_transaction",
        ["customer_id", "credit_type", "reverses"],
        unique=True,
        sqlite_where=sa.text("kind IN ('reversal', 'presume_reversal')"),
        postgresql_where=sa.text("kind IN ('reversal', 'presume_reversal')"),
    )


def _create_entries() -> None:
    op.create_table(
        "ledger_entry",
        _id("customer_id"),
        _id("credit_type"),
        _integer("number"),
        sa.Column("account", key_text(32), nullable=False),
        _integer("amount"),
        _of_transaction("ledger_entry", "number"),
        sa.PrimaryKeyConstraint(
            "customer_id", "credit_type", "number", "account", name="pk_ledger_entry"
        ),
    )


def _of_transaction(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["customer_id", "credit_type", column],
        [f"ledger_transaction.{name}" for name in ("customer_id", "credit_type", "number")],
        name=f"fk_{table}_customer_id_credit_type_{column}",
    )


def _create_credit_grants() -> None:
    op.create_table(
        "credit_grant",
        _id("customer_id"),
        _id("credit_type"),
        _integer("id"),
        sa.Column("kind", key_text(16), nullable=False),
        _integer("amount"),
        _integer("priority"),
        _integer("effective_at_ms"),
        _integer("expires_at_ms", nullable=True),
        sa.Column("series", key_text(256)),
        _integer("rollover_cap", nullable=True),
        _integer("period_end_ms", nullable=True),
        sa.Column("currency", key_text(16)),
        _integer("price_minor", nullable=True),
        _integer("balance"),
        _integer("reserved"),
        _of_transaction("credit_grant", "id"),
        sa.PrimaryKeyConstraint("customer_id", "credit_type", "id", name="pk_credit_grant"),
    )
    op.create_index(
        "ix_credit_grant_left",
        "credit_grant",
        ["customer_id", "credit_type"],
        sqlite_where=sa.text("balance > 0"),
        postgresql_where=sa.text("balance > 0"),
    )
    op.create_index(
        "ix_credit_grant_expiry",
        "credit_grant",
        ["expires_at_ms"],
        sqlite_where=sa.text("balance > 0 AND expires_at_ms IS NOT NULL"),
        postgresql_where=sa.text("balance > 0 AND expires_at_ms IS NOT NULL"),
    )
    op.create_table(
        "credit_tranche",
        _id("holder"),
        _id("customer_id"),
        _id("credit_type"),
        _integer("grant_id"),
        _integer("amount"),
        sa.ForeignKeyConstraint(
            ["customer_id", "credit_type", "grant_id"],
            [f"credit_grant.{name}" for name in ("customer_id", "credit_type", "id")],
            name="fk_credit_tranche_customer_id_credit_type_grant_id",
        ),
        sa.PrimaryKeyConstraint(
            "holder", "customer_id", "credit_type", "grant_id", name="pk_credit_tranche"
        ),
    )
    op.create_index(
        "ix_credit_tranche_customer_id_credit_type_grant_id",
        "credit_tranche",
        ["customer_id", "credit_type", "grant_id"],
    )


def _create_releases() -> None:
    op.create_table(
        "credit_schedule",
        _id("customer_id"),
        _integer("next_at_ms"),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_credit_schedule_customer_id"
        ),
        sa.PrimaryKeyConstraint("customer_id", name="pk_credit_schedule"),
    )
    op.create_index("ix_credit_schedule_next_at_ms", "credit_schedule", ["next_at_ms"])
    op.create_table(
        "credit_progress",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        _integer("customer_revision"),
        _integer("catalog_revision"),
        sa.Column("sweep_after", key_text(128)),
        sa.PrimaryKeyConstraint("id", name="pk_credit_progress"),
    )


def _keep_rows() -> None:
    engine = op.get_bind().dialect.name
    if engine == "postgresql":
        op.execute(CREATE_FUNCTION)
    for table, kept in (
        ("ledger_transaction", None),
        ("ledger_entry", None),
        ("credit_grant", GRANT_TERMS),
    ):
        for statement in append_only_triggers(engine, table, kept):
            op.execute(statement)
