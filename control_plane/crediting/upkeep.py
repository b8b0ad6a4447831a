"""What ledgers need besides calls: releases and expiry when due, and conservation checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection

from control_plane.crediting.conservation import Checked, Terms, not_conserved
from control_plane.crediting.granting import EXPIRED_PER_PAGE, expire_due
from control_plane.crediting.ordering import expire_orders
from control_plane.crediting.schedule import release_due
from control_plane.crediting.watches import look_at_due
from control_plane.provisioning import CatalogLibrary
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import get_logger

POLL_S: Final = 1.0
CUSTOMERS_PER_CHECK: Final = 200
NAMED_MAX: Final = 10
ANSWER_WITHIN_MS: Final = 24 * 3_600_000
"""How long a top-up order that was told by webhook waits for its answer."""

_log = get_logger("crediting")


class LedgerUpkeep:
    """Runs as long as the control plane does. `on_checked` is told of each look at some ledgers."""

    def __init__(
        self, database: Database, library: CatalogLibrary, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._library = library
        self._changed = asyncio.Event()
        self._now_ms = now_ms
        self._after = ""
        self._found: list[Terms] = []
        self._broken: tuple[Terms, ...] = ()
        self.on_checked: Callable[[int], None] = _ignore

    @property
    def broken(self) -> tuple[Terms, ...]:
        """Ledgers that did not add up when all were last looked at, or since."""
        known = {terms[:2] for terms in self._found}
        return (*self._found, *(terms for terms in self._broken if terms[:2] not in known))

    def details(self) -> list[str]:
        """Say what people should know although calls are served."""
        if not self.broken:
            return []
        names = [f"{terms.customer}/{terms.credit_type}" for terms in self.broken[:NAMED_MAX]]
        listed = ", ".join(names)
        return [f"credit ledgers that do not add up: {listed}; run `weighbridge ledger verify`"]

    async def run(self) -> None:
        """Book and check until cancelled."""
        while True:
            try:
                is_more = await self.book()
                await self.check()
            except UnavailableError as error:
                _log.warning("ledgers not looked after; tried again later", error=str(error))
                is_more = False
            if not is_more:
                await self._wait()

    def wake(self) -> None:
        """Look at once: something changed."""
        self._changed.set()

    async def _wait(self) -> None:
        # Not wait_for: before Python 3.12 it loses a cancellation that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._changed.wait()
        self._changed.clear()

    async def book(self) -> bool:
        """Release a page of grants that are due, book a page of expiries; whether there is more."""
        now_ms = self._now_ms()
        due = await self._database.write(
            lambda connection: release_due(connection, self._library, now_ms)
        )
        booked = await self._database.write(lambda connection: self._book(connection, now_ms))
        return due.is_more or booked == EXPIRED_PER_PAGE

    def _book(self, connection: Connection, now_ms: int) -> int:
        expire_orders(connection, ANSWER_WITHIN_MS, now_ms)
        look_at_due(connection, now_ms)
        return expire_due(connection, now_ms)

    async def check(self) -> None:
        """Check the next customers' ledgers for conservation, and begin again after the last."""
        checked = await self._database.read(
            lambda connection: not_conserved(connection, self._after, CUSTOMERS_PER_CHECK)
        )
        self._note(checked)
        self.on_checked(checked.ledgers)

    def _note(self, checked: Checked) -> None:
        known = {terms[:2] for terms in self.broken}
        for terms in checked.broken:
            if terms[:2] not in known:
                _log.error(
                    "credit ledger does not add up", **terms._asdict(), difference=terms.difference
                )
        self._found += checked.broken
        self._after = checked.last
        if not checked.last:
            self._broken, self._found = tuple(self._found), []


def _ignore(_ledgers: int) -> None:
    return
