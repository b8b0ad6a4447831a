"""Messages that control planes deliver to real receivers, at a clock that tests set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Any

from sqlalchemy import Connection, select
from standardwebhooks import Webhook

from control_plane.notifying import EventType, Message, tell
from control_plane.notifying.deliveries import RetryTerms, replay
from control_plane.notifying.endpoints import Endpoint, create_endpoint
from control_plane.notifying.signing import new_secret
from control_plane.outgoing.deliverer import Deliverer
from control_plane.outgoing.posting import Poster
from control_plane.storage.database import Database
from control_plane.storage.metadata import metadata
from tests.recording_server import Recorded
from weighbridge.runtime.clock import wall_ms

WAIT_S = 20.0
TERMS = RetryTerms(1_000, 60_000)


class Told:
    """An environment with endpoints; `another` is a control plane's deliveries."""

    def __init__(self, database: Database) -> None:
        self.database = database
        # Receivers refuse signatures that are old.
        self.now_ms = wall_ms()
        self.secrets: dict[str, str] = {}
        self._posters: list[Poster] = []
        self._number = 0

    async def close(self) -> None:
        for poster in self._posters:
            await poster.close()

    def write(self, work: Callable[[Connection], Any]) -> Any:
        with self.database.writing() as connection:
            return work(connection)

    def endpoint(self, name: str, url: str, *types: str) -> None:
        secret = self.secrets[name] = new_secret()
        self.write(lambda c: create_endpoint(c, Endpoint(name, url, types), secret, self.now_ms))

    def tell(self, count: int = 1, event_type: EventType = EventType.CREDITS_GRANTED) -> None:
        for _ in range(count):
            self._number += 1
            message = Message(event_type, "acme", self.now_ms, {"number": self._number})
            self.write(lambda c, message=message: tell(c, [message], self.now_ms))

    def replay(self, endpoint: str, message: str = "") -> int:
        count: int = self.write(lambda c: replay(c, endpoint, message, self.now_ms))
        return count

    def poster(self, timeout_s: float = 5.0) -> Poster:
        self._posters.append(Poster(timeout_s))
        return self._posters[-1]

    def another(self, timeout_s: float = 5.0) -> Deliverer:
        return Deliverer(
            self.database, self.poster(timeout_s), TERMS, lambda: self.now_ms, Random(1)
        )

    def rows(self, table: str = "webhook_delivery") -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.execute(select(metadata.tables[table])))

    def states(self, endpoint: str) -> list[str]:
        return [row.state for row in self.rows() if row.endpoint_id == endpoint]

    def verify(self, endpoint: str, request: Recorded) -> Any:
        return Webhook(self.secrets[endpoint]).verify(request.body, request.headers)


async def until(deliverer: Deliverer, is_so: Callable[[], bool]) -> None:
    """Deliver until something is so, within a bound."""
    deadline_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, "never so"
        await deliverer.step()
        await asyncio.sleep(0.01)
