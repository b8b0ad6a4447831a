"""An environment with hard limits on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from leased import Leased, Sidecar

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


@pytest.fixture
def one() -> Sidecar:
    return Sidecar("sc-1", "acme")


@pytest.fixture
def two() -> Sidecar:
    return Sidecar("sc-2", "acme")
