"""An environment with endpoints that are told of things."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from told import Told

from control_plane.storage.database import Database


@pytest.fixture
async def told(database_url: str) -> AsyncIterator[Told]:
    """Make an environment whose control planes end with the test."""
    database = Database(database_url)
    database.migrate()
    made = Told(database)
    yield made
    await made.close()
    database.close()
