"""Environments on both kinds of SQLite database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from provisioned import Environment

from control_plane.storage.database import Database


@pytest.fixture(params=["memory", "file"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Environment]:
    """Make an environment without a catalog."""
    url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'data.db'}"
    database = Database(url)
    database.migrate()
    yield Environment(database)
    database.close()
