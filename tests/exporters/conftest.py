"""An environment with usage to export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from exported import Exported

from control_plane.storage.database import Database


@pytest.fixture
def exported(database_url: str, tmp_path: Path) -> Iterator[Exported]:
    """Make an environment with the customers acme and beta."""
    database = Database(database_url)
    database.migrate()
    environment = Exported(database, tmp_path)
    yield environment
    environment.close()
