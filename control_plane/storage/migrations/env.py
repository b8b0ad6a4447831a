"""What Alembic runs: migrates the connection handed in, or an empty database when developing."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

from control_plane.storage import (
    billing_tables,
    export_tables,
    import_tables,
    lease_tables,
    ledger_tables,
    tables,
    top_up_tables,
    webhook_tables,
)
from control_plane.storage.metadata import metadata

assert {
    tables.customer.metadata,
    lease_tables.lease.metadata,
    ledger_tables.ledger_entry.metadata,
    top_up_tables.top_up_order.metadata,
    webhook_tables.webhook_delivery.metadata,
    billing_tables.statement.metadata,
    export_tables.export_item.metadata,
    import_tables.import_event.metadata,
} == {metadata}


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite alters a table by copying it.
        render_as_batch=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_in: Connection | None = context.config.attributes.get("connection")
if handed_in is not None:
    run(handed_in)
else:
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        message = "alembic.ini names no sqlalchemy.url"
        raise RuntimeError(message)
    with create_engine(url).connect() as connection:
        run(connection)
