"""An environment with a catalog and customers to settle usage of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from metered import Metered

from control_plane.storage.database import Database


@pytest.fixture(params=["memory", "file"])
def metered(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Metered]:
    """Make an environment with the catalog and the customers acme (pro) and beta (free)."""
    url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'data.db'}"
    database = Database(url)
    database.migrate()
    yield Metered(database)
    database.close()
