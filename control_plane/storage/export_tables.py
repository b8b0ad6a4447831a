"""The tables of exports. Instants are milliseconds since 1970 UTC, quantities units."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from control_plane.storage.metadata import ID, KEY, WORD, metadata
from control_plane.storage.types import SERIAL, key_text

# What a customer is called elsewhere: in Stripe, in Zuora, in a CRM.
external_id = Table(
    "external_id",
    metadata,
    Column("system", WORD, primary_key=True),
    Column("customer_id", ID, ForeignKey("customer.id"), primary_key=True),
    Column("external_id", KEY, nullable=False),
    UniqueConstraint("system", "external_id"),
)

# Up to which event an exporter has summed usage, and which process works for it, until when.
export_cursor = Table(
    "export_cursor",
    metadata,
    Column("exporter", ID, primary_key=True),
    Column("event_id", BigInteger, nullable=False),
    Column("owner", ID, nullable=False),
    Column("owned_until_ms", BigInteger, nullable=False),
)

# Which totals have more than what was put into items.
UNEXPORTED = "total <> exported"

# Usage as an exporter sums it: by meter, customer, resource, dimensions and window. `exported` is
# what items were made of, `items` how many.
export_total = Table(
    "export_total",
    metadata,
    Column("exporter", ID, primary_key=True),
    Column("meter", ID, primary_key=True),
    Column("customer_id", ID, primary_key=True),
    Column("resource_id", ID, primary_key=True),
    Column("dimensions_digest", key_text(64), primary_key=True),
    Column("window_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("dimensions", Text, nullable=False),
    Column("window_end_ms", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("exported", BigInteger, nullable=False),
    Column("items", BigInteger, nullable=False),
    Index(
        "ix_export_total_open",
        "exporter",
        "window_end_ms",
        sqlite_where=text(UNEXPORTED),
        postgresql_where=text(UNEXPORTED),
    ),
)

# What is sent, once by its identifier however often it is tried. A second item of a window is an
# adjustment: usage that came late.
export_item = Table(
    "export_item",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("exporter", ID, nullable=False),
    Column("identifier", ID, nullable=False),
    Column("meter", ID, nullable=False),
    Column("customer_id", ID, nullable=False),
    Column("resource_id", ID, nullable=False),
    Column("dimensions", Text, nullable=False),
    Column("window_start_ms", BigInteger, nullable=False),
    Column("window_end_ms", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("state", WORD, nullable=False),
    # Items that go together, whenever they are tried again; 0: not tried yet.
    Column("batch", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("first_tried_at_ms", BigInteger),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("sent_at_ms", BigInteger),
    Column("error", String(512), nullable=False),
    UniqueConstraint("exporter", "identifier"),
    Index("ix_export_item_due", "exporter", "state", "next_at_ms"),
)
