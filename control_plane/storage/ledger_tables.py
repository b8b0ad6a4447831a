"""The tables of the credit ledger. Instants are milliseconds since 1970 UTC."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from control_plane.storage.append_only import keep_terms, refuse_changes
from control_plane.storage.metadata import ID, KEY, WORD, metadata
from control_plane.storage.types import key_text

# The credit ledger of each customer and credit type; amounts are micro-credits. This row is what
# transactions on one ledger wait for each other at: `number` is that of the last one, and the
# others add up the accounts that are no grants.
credit_balance = Table(
    "credit_balance",
    metadata,
    Column("customer_id", ID, ForeignKey("customer.id"), primary_key=True),
    Column("credit_type", ID, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("granted", BigInteger, nullable=False),
    Column("overage", BigInteger, nullable=False),
    Column("settled", BigInteger, nullable=False),
    Column("presumed", BigInteger, nullable=False),
    Column("expired", BigInteger, nullable=False),
    Column("withdrawn", BigInteger, nullable=False),
)

# Append only: the database refuses anything else. Numbers count from 1 in each ledger, without
# gaps; `amount` is the sum of what is added to accounts.
ledger_transaction = Table(
    "ledger_transaction",
    metadata,
    Column("customer_id", ID, primary_key=True),
    Column("credit_type", ID, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("key", KEY, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("kind", WORD, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("occurred_at_ms", BigInteger, nullable=False),
    Column("booked_at_ms", BigInteger, nullable=False),
    # The transaction that this one takes back.
    Column("reverses", BigInteger),
    # What was used: the application's key, and the sidecar's record.
    Column("event_key", KEY),
    Column("sidecar_id", ID),
    Column("epoch", ID),
    Column("record_number", BigInteger),
    Column("note", String(256), nullable=False),
    UniqueConstraint("customer_id", "key"),
    ForeignKeyConstraint(
        ["customer_id", "credit_type"],
        ["credit_balance.customer_id", "credit_balance.credit_type"],
    ),
    Index("ix_ledger_transaction_event", "customer_id", "event_key"),
    # Taken back whole at most once, whoever writes.
    Index(
        "uq_ledger_transaction_reversal",
        "customer_id",
        "credit_type",
        "reverses",
        unique=True,
        sqlite_where=text("kind IN ('reversal', 'presume_reversal')"),
        postgresql_where=text("kind IN ('reversal', 'presume_reversal')"),
    ),
)

# Append only. What a transaction adds to each account; those of a transaction sum to zero.
ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column("customer_id", ID, primary_key=True),
    Column("credit_type", ID, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("account", key_text(32), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["customer_id", "credit_type", "number"],
        [
            "ledger_transaction.customer_id",
            "ledger_transaction.credit_type",
            "ledger_transaction.number",
        ],
    ),
)

# Immutable but for what is left of it, and what of that is handed out. The id is the number of the
# transaction that granted it.
credit_grant = Table(
    "credit_grant",
    metadata,
    Column("customer_id", ID, primary_key=True),
    Column("credit_type", ID, primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", WORD, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("effective_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    # Of grants that come again: at most so much stays of those of one series whose period is over.
    Column("series", KEY),
    Column("rollover_cap", BigInteger),
    Column("period_end_ms", BigInteger),
    # What was paid for it, in the currency's minor unit.
    Column("currency", WORD),
    Column("price_minor", BigInteger),
    Column("balance", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["customer_id", "credit_type", "id"],
        [
            "ledger_transaction.customer_id",
            "ledger_transaction.credit_type",
            "ledger_transaction.number",
        ],
    ),
    Index(
        "ix_credit_grant_left",
        "customer_id",
        "credit_type",
        sqlite_where=text("balance > 0"),
        postgresql_where=text("balance > 0"),
    ),
    Index(
        "ix_credit_grant_expiry",
        "expires_at_ms",
        sqlite_where=text("balance > 0 AND expires_at_ms IS NOT NULL"),
        postgresql_where=text("balance > 0 AND expires_at_ms IS NOT NULL"),
    ),
)

# What of a grant is handed out, and to whom: a part of a lease, for instance.
credit_tranche = Table(
    "credit_tranche",
    metadata,
    Column("holder", ID, primary_key=True),
    Column("customer_id", ID, primary_key=True),
    Column("credit_type", ID, primary_key=True),
    Column("grant_id", BigInteger, primary_key=True, autoincrement=False),
    Column("amount", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["customer_id", "credit_type", "grant_id"],
        ["credit_grant.customer_id", "credit_grant.credit_type", "credit_grant.id"],
    ),
    Index(None, "customer_id", "credit_type", "grant_id"),
)

# When a customer's plan or add-ons grant credits again, or may come to do so.
credit_schedule = Table(
    "credit_schedule",
    metadata,
    Column("customer_id", ID, ForeignKey("customer.id"), primary_key=True),
    Column("next_at_ms", BigInteger, nullable=False, index=True),
)

# One row: up to which revisions of customers and catalogs everybody's grants were looked at, and
# where a look at all customers goes on.
credit_progress = Table(
    "credit_progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("customer_revision", BigInteger, nullable=False),
    Column("catalog_revision", BigInteger, nullable=False),
    Column("sweep_after", ID),
)

refuse_changes(ledger_transaction)
refuse_changes(ledger_entry)
keep_terms(credit_grant, changing=("balance", "reserved"))
