"""An environment to make statements in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control_plane.storage.database import Database
from tests.billed import Billed


@pytest.fixture
def billed(database_url: str) -> Iterator[Billed]:
    """Make an environment without a catalog."""
    database = Database(database_url)
    database.migrate()
    yield Billed(database)
    database.close()
