"""Imports on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from imported import Imported

from control_plane.storage.database import Database


@pytest.fixture
def imported(database_url: str, tmp_path: Path) -> Iterator[Imported]:
    """Make an environment whose ledgers have to be sound at the end."""
    database = Database(database_url)
    database.migrate()
    made = Imported(database, tmp_path)
    yield made
    made.require_sound()
    database.close()
