"""The tables of imports: what other systems told, and what became of it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, Text

from control_plane.storage.metadata import ID, KEY, WORD, metadata

# Events by the id that the other system gave them: each is taken once. The payload is kept of what
# was set aside.
import_event = Table(
    "import_event",
    metadata,
    Column("source", WORD, primary_key=True),
    Column("event_id", KEY, primary_key=True),
    Column("type", KEY, nullable=False),
    Column("customer_id", ID, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("state", WORD, nullable=False),
    Column("reason", String(512), nullable=False),
    Column("payload", Text, nullable=False),
    Index("ix_import_event_state", "state", "received_at_ms", "source", "event_id"),
)

# Subscriptions there: whose each is, and how new what was applied is. `began_at_ms` tells the
# newer one of two; payments have an order of their own.
import_subscription = Table(
    "import_subscription",
    metadata,
    Column("source", WORD, primary_key=True),
    Column("subscription_id", KEY, primary_key=True),
    Column("customer_id", ID, nullable=False),
    Column("resource_id", ID, nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
    Column("terms_at_ms", BigInteger, nullable=False),
    Column("terms_rank", BigInteger, nullable=False),
    Column("payment_at_ms", BigInteger, nullable=False),
    Column("past_due_until_ms", BigInteger),
    Column("is_ended", Boolean, nullable=False),
    Index("ix_import_subscription_owner", "customer_id", "resource_id"),
)

# The names that one purchase has: a payment, an invoice, a checkout.
import_reference = Table(
    "import_reference",
    metadata,
    Column("source", WORD, primary_key=True),
    Column("reference", KEY, primary_key=True),
    Column("purchase_id", KEY, nullable=False),
)

# Credits that purchases opened, and how many of them refunds withdrew.
import_grant = Table(
    "import_grant",
    metadata,
    Column("source", WORD, primary_key=True),
    Column("purchase_id", KEY, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("customer_id", ID, nullable=False),
    Column("credit_type", ID, nullable=False),
    Column("grant_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("withdrawn", BigInteger, nullable=False),
)

# What was paid back of a payment so far, whether its purchase is known yet or not.
import_refund = Table(
    "import_refund",
    metadata,
    Column("source", WORD, primary_key=True),
    Column("reference", KEY, primary_key=True),
    Column("paid_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
)
