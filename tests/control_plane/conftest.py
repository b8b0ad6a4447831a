"""An environment on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from provisioned import Environment

from control_plane.storage.database import Database


@pytest.fixture
def environment(database_url: str) -> Iterator[Environment]:
    """Make an environment without a catalog."""
    database = Database(database_url)
    database.migrate()
    yield Environment(database)
    database.close()
