"""A control plane's sync service on a real server and a database on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sync_world import SyncWorld


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    """Serve an environment with one catalog and no customers."""
    made = SyncWorld(f"sqlite:///{tmp_path / 'data.db'}")
    await made.start()
    yield made
    await made.stop()
