"""The first tables of exports: a part of revision 0001."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from control_plane.storage.types import SERIAL, key_text

TABLES: Final = ["external_id", "export_cursor", "export_total", "export_item"]

_UNEXPORTED: Final = "total <> exported"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "external_id",
        _word("system"),
        _id("customer_id"),
        sa.Column("external_id", key_text(256), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_external_id_customer_id"
        ),
        sa.PrimaryKeyConstraint("system", "customer_id", name="pk_external_id"),
        sa.UniqueConstraint("system", "external_id", name="uq_external_id_system_external_id"),
    )
    op.create_table(
        "export_cursor",
        _id("exporter"),
        _integer("event_id"),
        _id("owner"),
        _integer("owned_until_ms"),
        sa.PrimaryKeyConstraint("exporter", name="pk_export_cursor"),
    )
    _create_totals()
    _create_items()


def _create_totals() -> None:
    op.create_table(
        "export_total",
        _id("exporter"),
        _id("meter"),
        _id("customer_id"),
        _id("resource_id"),
        sa.Column("dimensions_digest", key_text(64), nullable=False),
        _integer("window_start_ms"),
        sa.Column("dimensions", sa.Text(), nullable=False),
        _integer("window_end_ms"),
        _integer("total"),
        _integer("exported"),
        _integer("items"),
        sa.PrimaryKeyConstraint(
            "exporter",
            "meter",
            "customer_id",
            "resource_id",
            "dimensions_digest",
            "window_start_ms",
            name="pk_export_total",
        ),
    )
    op.create_index(
        "ix_export_total_open",
        "export_total",
        ["exporter", "window_end_ms"],
        sqlite_where=sa.text(_UNEXPORTED),
        postgresql_where=sa.text(_UNEXPORTED),
    )


def _create_items() -> None:
    op.create_table(
        "export_item",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        _id("exporter"),
        _id("identifier"),
        _id("meter"),
        _id("customer_id"),
        _id("resource_id"),
        sa.Column("dimensions", sa.Text(), nullable=False),
        _integer("window_start_ms"),
        _integer("window_end_ms"),
        _integer("quantity"),
        _word("state"),
        _integer("batch"),
        _integer("attempts"),
        _integer("first_tried_at_ms", nullable=True),
        _integer("next_at_ms"),
        _integer("sent_at_ms", nullable=True),
        sa.Column("error", sa.String(512), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_export_item"),
        sa.UniqueConstraint("exporter", "identifier", name="uq_export_item_exporter_identifier"),
    )
    op.create_index("ix_export_item_due", "export_item", ["exporter", "state", "next_at_ms"])


def _id(name: str) -> sa.Column[str]:
    return sa.Column(name, key_text(128), nullable=False)


def _word(name: str) -> sa.Column[str]:
    return sa.Column(name, key_text(16), nullable=False)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)
