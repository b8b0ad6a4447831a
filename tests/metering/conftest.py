"""An environment with a catalog and customers to settle usage of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from metered import Metered

from control_plane.storage.database import Database


@pytest.fixture
def metered(database_url: str) -> Iterator[Metered]:
    """Make an environment with the catalog and the customers acme (pro) and beta (free)."""
    database = Database(database_url)
    database.migrate()
    yield Metered(database)
    database.close()
