"""A scripted sidecar on TCP, and clients of it that close themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sidecar_double import ScriptedSidecar, serving

from weighbridge import Client


@pytest.fixture
def sidecar() -> ScriptedSidecar:
    return ScriptedSidecar()


@pytest.fixture
async def address(sidecar: ScriptedSidecar) -> AsyncIterator[str]:
    async with serving(sidecar, "127.0.0.1:0") as at:
        yield at


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with Client(address, timeout_s=10) as client:
        yield client
