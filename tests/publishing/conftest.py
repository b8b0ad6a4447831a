"""A control plane's sync service on a real server on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sync_world import SyncWorld


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SyncWorld]:
    """Serve an environment with one catalog and no customers."""
    made = SyncWorld(database_url)
    await made.start()
    yield made
    await made.stop()
