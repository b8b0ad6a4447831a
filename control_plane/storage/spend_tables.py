"""The table of priced usage. Instants are milliseconds since 1970 UTC."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Table

from control_plane.storage.metadata import ID, WORD, metadata
from control_plane.storage.types import key_text

# Units that went to one price in one billing period: which tier the next ones lie in. `price` tells
# apart what usage goes to it, not what it costs. A row is made from the events of the period when
# usage under a spend limit first needs it, and from then on moves in the same transactions.
priced_usage = Table(
    "priced_usage",
    metadata,
    Column("customer_id", ID, primary_key=True),
    Column("resource_id", ID, primary_key=True),
    Column("price", key_text(32), primary_key=True),
    Column("every", WORD, primary_key=True),
    Column("period_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("units", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False, index=True),
    CheckConstraint("units >= 0", name="ck_priced_usage_units"),
)
