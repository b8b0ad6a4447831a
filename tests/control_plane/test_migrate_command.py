"""`weighbridge migrate` brings a database to the newest schema, on both engines, and ends."""

from __future__ import annotations

import subprocess
import sys

from sqlalchemy import Connection, text

from control_plane.storage.database import Database
from control_plane.storage.migrations import schema_revision
from weighbridge.runtime.main import EXIT_FAILED

TIMEOUT_S = 60


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weighbridge.cli", "migrate", "--database-url", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


async def test_an_empty_database_gets_every_table_and_a_second_run_changes_nothing(
    empty_database_url: str,
) -> None:
    first = migrate(empty_database_url)
    assert first.returncode == 0, first.stderr
    assert '"before": "empty"' in first.stdout + first.stderr
    database = Database(empty_database_url)
    try:
        revision = await database.read(schema_revision)
        assert revision is not None
        again = migrate(empty_database_url)
        assert again.returncode == 0, again.stderr
        assert f'"before": "{revision}"' in again.stdout + again.stderr
        assert f'"after": "{revision}"' in again.stdout + again.stderr
    finally:
        database.close()


async def test_a_newer_schema_is_refused_in_one_line(empty_database_url: str) -> None:
    assert migrate(empty_database_url).returncode == 0
    database = Database(empty_database_url)

    def newer(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    try:
        await database.write(newer)
    finally:
        database.close()
    refused = migrate(empty_database_url)
    assert refused.returncode == EXIT_FAILED
    assert "schema revision 9999" in refused.stderr
