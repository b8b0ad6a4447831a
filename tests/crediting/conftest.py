"""A ledger on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from credited import Credited

from control_plane.storage.database import Database


@pytest.fixture
def credited(database_url: str) -> Iterator[Credited]:
    """Make an environment whose ledgers have to be sound at the end."""
    database = Database(database_url)
    database.migrate()
    made = Credited(database)
    yield made
    made.require_sound()
    database.close()
