"""A world per test, ended whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.world import World, catalog, check


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Both processes up, the catalog applied, customer `acme` on plan free."""
    world = World(tmp_path)
    try:
        world.start()
        admin = world.admin()
        admin.apply(catalog())
        admin.create("acme")
        assert check(world.api(), "acme", "api.calls").decision.allowed
        yield world
    finally:
        world.end()
