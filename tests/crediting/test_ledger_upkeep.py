"""Upkeep: expiry is booked when due, and a ledger that does not add up is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from credited import DAY_MS, NOW_MS, Credited

from control_plane import crediting
from control_plane.crediting import LedgerId, NewGrant
from control_plane.crediting.upkeep import LedgerUpkeep
from control_plane.provisioning import CatalogLibrary
from weighbridge.rules.credits import GrantKind


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.01)


async def test_it_books_and_checks_until_it_is_stopped(
    credited: Credited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.crediting.upkeep.POLL_S", 0.01)
    credited.grant(10, expires_at_ms=NOW_MS + DAY_MS)
    upkeep = LedgerUpkeep(credited.database, CatalogLibrary(), lambda: credited.now_ms)
    checked: list[int] = []
    upkeep.on_checked = checked.append
    task = asyncio.create_task(upkeep.run())
    await until(lambda: len(checked) > 1)
    assert credited.balance().totals.expired == 0
    credited.now_ms += DAY_MS
    await until(lambda: credited.balance().totals.expired == 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert checked[0] == 1
    assert upkeep.details() == []


async def test_a_ledger_that_does_not_add_up_is_told_until_it_does(
    credited: Credited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.crediting.upkeep.CUSTOMERS_PER_CHECK", 1)
    credited.grant(10)
    new = NewGrant("g", GrantKind.MANUAL, 5)
    beta = LedgerId("beta", "credits")
    credited.post(lambda book: crediting.create_grant(book, new), beta)
    upkeep = LedgerUpkeep(credited.database, CatalogLibrary(), lambda: credited.now_ms)
    credited.spoil("UPDATE credit_grant SET balance = balance + 1 WHERE customer_id = 'acme'")
    told = ["credit ledgers that do not add up: acme/credits; run `weighbridge ledger verify`"]
    for _ in range(6):
        await upkeep.check()
        assert upkeep.details() == told
    credited.spoil("UPDATE credit_grant SET balance = balance - 1 WHERE customer_id = 'acme'")
    for _ in range(4):
        await upkeep.check()
    assert upkeep.details() == []
