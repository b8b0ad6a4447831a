"""The schema's revisions, and the way to the newest one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from weighbridge.rules.errors import FailedPreconditionError


def migrate(connection: Connection) -> None:
    """Bring the schema to the newest revision, within the caller's transaction.

    Raises FailedPreconditionError where the schema is newer than this software.
    """
    config = _config()
    current = schema_revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise FailedPreconditionError(
            f"the database has schema revision {current}, which this version of Weighbridge does "
            "not know; run the version that made it, or a newer one"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def schema_revision(connection: Connection) -> str | None:
    """Return the schema's revision; None where the database is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
