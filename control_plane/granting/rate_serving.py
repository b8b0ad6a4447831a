"""The desk of rates on the event loop: nothing of it is in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from control_plane.granting.desk import Session
from control_plane.granting.rate_desk import HeldShare, RateDelivery, RateDesk, RateRequest
from control_plane.granting.work import RateSharesTold

BUSY_TICK_S: Final = 0.05
TICK_S: Final = 1.0


class RateService:
    """Takes what streams say of rates, and hands them what the desk has for them.

    `clock_ms` never steps. `deliver` is given the session that a stream said hello with.
    """

    def __init__(self, desk: RateDesk, clock_ms: Callable[[], int]) -> None:
        self.desk = desk
        self._clock_ms = clock_ms
        self._has_work = asyncio.Event()
        self.deliver: Callable[[Session, RateSharesTold], None] = _drop

    def fence(self) -> None:
        """Begin as one that follows another."""
        self.desk.fence(self._clock_ms())

    def connect(self, session: Session, sidecar: str, held: Iterable[HeldShare]) -> None:
        """Take in what a hello says of rates."""
        self._send(self.desk.connect(session, sidecar, held, self._clock_ms()))

    def disconnect(self, session: Session) -> None:
        """Drop a stream."""
        self.desk.disconnect(session)

    def renew(self, session: Session) -> None:
        """Take in a heartbeat."""
        self.desk.renew(session, self._clock_ms())

    def request(self, session: Session, request: RateRequest) -> None:
        """Take in a request."""
        self._send(self.desk.request(session, request, self._clock_ms()))

    def tick(self) -> None:
        """Do what is due."""
        self._send(self.desk.tick(self._clock_ms()))

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            self._has_work.clear()
            self.tick()
            if self.desk.is_busy:
                await asyncio.sleep(BUSY_TICK_S)
                continue
            try:
                async with asyncio.timeout(TICK_S):
                    await self._has_work.wait()
            except TimeoutError:
                continue

    def _send(self, deliveries: Iterable[RateDelivery]) -> None:
        for session, message in deliveries:
            self.deliver(session, message)
        if self.desk.is_busy:
            self._has_work.set()


def _drop(_session: Session, _message: RateSharesTold) -> None:
    return
