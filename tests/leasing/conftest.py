"""An environment with hard limits on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from leased import Leased

from control_plane.storage.database import Database


@pytest.fixture
def leased(database_url: str) -> Iterator[Leased]:
    """Make an environment with the catalog and the customer acme (pro)."""
    database = Database(database_url)
    database.migrate()
    made = Leased(database)
    made.create("acme")
    yield made
    database.close()
