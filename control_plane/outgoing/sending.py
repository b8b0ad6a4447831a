"""All that the control plane says to others over HTTP, as the settings have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from sqlalchemy import Connection

from control_plane.crediting.watching import set_provider
from control_plane.notifying.deliveries import RetryTerms
from control_plane.notifying.endpoints import require_url
from control_plane.notifying.signing import require_secret
from control_plane.outgoing.asker import Endpoint, OrderAsker
from control_plane.outgoing.deliverer import Deliverer
from control_plane.outgoing.posting import Poster
from control_plane.settings import Settings
from control_plane.storage.database import Database
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.top_up import Provider
from weighbridge.runtime.tokens import read_secret_file


class Outgoing:
    """Deliveries of webhooks, and questions to the provider of top-ups where there is one."""

    def __init__(
        self, settings: Settings, database: Database, now_ms: Callable[[], int], random: Random
    ) -> None:
        terms = RetryTerms(settings.webhook_backoff_ms_min, settings.webhook_backoff_ms_max)
        self._database = database
        self._now_ms = now_ms
        self._provider = Provider(settings.top_up_provider)
        endpoint = _endpoint(settings, terms) if self._provider is Provider.HTTP else None
        self._posters = [Poster(settings.webhook_timeout_s)]
        self.deliverer = Deliverer(database, self._posters[0], terms, now_ms, random)
        self.asker: OrderAsker | None = None
        if endpoint is not None:
            poster = Poster(settings.top_up_timeout_s)
            self._posters.append(poster)
            self.asker = OrderAsker(database, poster, endpoint, now_ms, random)

    async def open(self) -> None:
        """Have orders paid as the settings say."""

        def work(connection: Connection) -> None:
            set_provider(connection, self._provider, self._now_ms())

        await self._database.write(work)

    async def run(self) -> None:
        """Say what is to be said until cancelled."""
        if self.asker is None:
            await self.deliverer.run()
        else:
            await asyncio.gather(self.deliverer.run(), self.asker.run())

    async def close(self) -> None:
        """Close every connection."""
        for poster in self._posters:
            await poster.close()


def _endpoint(settings: Settings, terms: RetryTerms) -> Endpoint:
    """Return where to ask. Raises InvalidArgumentError naming the setting."""
    path = settings.top_up_secret_file
    if path is None:
        problem = "is not set; the provider tells by it who asks"
        raise InvalidArgumentError("top_up_secret_file", problem)
    try:
        secret = require_secret(read_secret_file(path))
    except ValueError as error:
        raise InvalidArgumentError("top_up_secret_file", str(error)) from error
    return Endpoint(require_url("top_up_url", settings.top_up_url), secret, terms)
