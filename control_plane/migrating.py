"""`python -m control_plane.migrating`: brings the schema to the newest revision, and ends.

For upgrades whose migration runs before anything serves, and under a role of the database that may
change the schema. A control plane that starts does the same, and finds nothing to do after this.
"""

from __future__ import annotations

import asyncio
import sys

from control_plane.settings import Settings, settings_from_environment
from control_plane.storage.database import Database
from control_plane.storage.lock import locked_database
from control_plane.storage.migrations import schema_revision
from weighbridge.runtime.logs import get_logger
from weighbridge.runtime.main import run_process

_log = get_logger("control_plane")


async def run(settings: Settings) -> None:
    """Migrate the database of the settings. Raises WeighbridgeError saying why not."""
    with locked_database(settings.effective_database_url):
        database = Database(settings.effective_database_url)
        try:
            before = await database.read(schema_revision)
            await asyncio.to_thread(database.migrate)
            after = await database.read(schema_revision)
        finally:
            await asyncio.to_thread(database.close)
    _log.info("schema is at its newest revision", before=before or "empty", after=after)


if __name__ == "__main__":
    sys.exit(run_process(settings_from_environment, run))
