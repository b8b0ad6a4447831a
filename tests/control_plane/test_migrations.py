"""Migrating makes the tables the code expects, once, whole, and refuses a newer schema."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, String, inspect, text
from sqlalchemy.dialects import postgresql

from control_plane.storage import (
    lease_tables,
    ledger_tables,
    spend_tables,
    tables,
    top_up_tables,
    webhook_tables,
)
from control_plane.storage.database import Database
from control_plane.storage.metadata import metadata
from tests.postgresql_server import PostgresServer
from weighbridge.rules.errors import FailedPreconditionError

assert {
    tables.customer.metadata,
    lease_tables.lease.metadata,
    spend_tables.priced_usage.metadata,
    ledger_tables.ledger_entry.metadata,
    top_up_tables.top_up_order.metadata,
    webhook_tables.webhook_delivery.metadata,
} == {metadata}

# Each engine's own record of the schema, of which Alembic's comparison reads only a part.
SCHEMA = {
    "sqlite": [
        """
        SELECT name, sql FROM sqlite_master
        WHERE type IN ('index', 'trigger') AND sql IS NOT NULL
        """
    ],
    "postgresql": [
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        """
        SELECT table_name || '.' || column_name, (data_type, character_maximum_length,
            collation_name, column_default, is_nullable, is_identity)::text
        FROM information_schema.columns WHERE table_schema = 'public'
        """,
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    ],
}


@pytest.fixture
def database(empty_database_url: str) -> Iterator[Database]:
    database = Database(empty_database_url)
    yield database
    database.close()


def _schema(connection: Connection) -> dict[str, str]:
    return {
        name: definition
        for query in SCHEMA[connection.dialect.name]
        for name, definition in connection.execute(text(query))
        if "alembic" not in name
    }


def test_the_migrated_schema_is_the_one_in_code(database: Database) -> None:
    database.migrate()

    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_a_database_in_memory_is_migrated() -> None:
    database = Database("sqlite://")
    database.migrate()

    with database.reading() as connection:
        assert set(inspect(connection).get_table_names()) > set(metadata.tables)
    database.close()


def test_indexes_collations_and_defaults_are_the_ones_in_code(
    database: Database, engine: str, request: pytest.FixtureRequest
) -> None:
    other_url = "sqlite://"
    if engine == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgresql")
        other_url = server.database().render_as_string(hide_password=False)
    created = Database(other_url)
    with created.writing() as connection:
        metadata.create_all(connection)
    database.migrate()

    with database.reading() as one, created.reading() as other:
        assert _schema(one) == _schema(other)
    created.close()


def test_what_rows_are_found_by_is_compared_by_its_bytes() -> None:
    """Else the order would be that of the server's language, and differ between engines."""
    dialect = postgresql.dialect()
    wrong = []
    for table in metadata.tables.values():
        indexed = [column for index in table.indexes for column in index.columns]
        for column in {*table.primary_key.columns, *indexed}:
            kind = column.type.dialect_impl(dialect)
            if isinstance(kind, String) and kind.collation != "C":
                wrong.append(f"{table.name}.{column.name}")
    assert not wrong, "make them key_text of control_plane.storage.types"


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.writing() as connection:
        connection.execute(text("INSERT INTO catalog VALUES ('c', 1, 0)"))

    database.migrate()

    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM catalog")).scalar_one() == 1


def test_a_newer_schema_is_refused(database: Database) -> None:
    database.migrate()
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(FailedPreconditionError, match="schema revision 9999"):
        database.migrate()


def test_a_migration_that_fails_leaves_nothing(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE usage_total (id INTEGER)"))

    with pytest.raises(Exception, match="usage_total"):
        database.migrate()

    with database.reading() as connection:
        assert inspect(connection).get_table_names() == ["usage_total"]
