"""Migrating makes the tables the code expects, once, whole, and refuses a newer schema."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from control_plane.storage.database import Database
from control_plane.storage.tables import metadata
from weighbridge.rules.errors import FailedPreconditionError


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'data.db'}"


def test_the_migrated_schema_is_the_one_in_code(url: str) -> None:
    database = Database(url)
    database.migrate()

    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    database.close()


def test_index_conditions_and_defaults_are_the_ones_in_code(url: str) -> None:
    """SQLite's own record of the schema, which Alembic's comparison reads only in part."""
    migrated, created = Database(url), Database("sqlite://")
    migrated.migrate()
    with created.writing() as connection:
        metadata.create_all(connection)
    query = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")

    with migrated.reading() as one, created.reading() as other:
        assert dict(one.execute(query).all()) == dict(other.execute(query).all())
    migrated.close()
    created.close()


def test_migrating_again_changes_nothing(url: str) -> None:
    database = Database(url)
    database.migrate()
    with database.writing() as connection:
        connection.execute(text("INSERT INTO catalog VALUES ('c', 1, 0)"))

    database.migrate()

    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM catalog")).scalar_one() == 1
    database.close()


def test_a_newer_schema_is_refused(url: str) -> None:
    database = Database(url)
    database.migrate()
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(FailedPreconditionError, match="schema revision 9999"):
        database.migrate()
    database.close()


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    database = Database(url)
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE usage_total (id INTEGER)"))

    with pytest.raises(Exception, match="usage_total"):
        database.migrate()

    with database.reading() as connection:
        assert inspect(connection).get_table_names() == ["usage_total"]
    database.close()
