"""Waits, within a bound, until something is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WAIT_S = 20.0
POLL_S = 0.01


async def eventually(is_so: Callable[[], bool]) -> None:
    """Ask again and again; fail where it never is so."""
    async with asyncio.timeout(WAIT_S):
        is_it = is_so()
        while not is_it:
            await asyncio.sleep(POLL_S)
            is_it = is_so()
