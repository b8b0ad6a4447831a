"""Sends messages to their endpoints for as long as the control plane runs."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic, perf_counter
from typing import Final, NamedTuple

from sqlalchemy import Connection

from control_plane.notifying.deliveries import (
    QUEUE_MAX,
    Claimant,
    Claimed,
    DeliveryState,
    Outcome,
    RetryTerms,
    claim,
    has_due,
    oldest_pending_ms,
    settle,
    shed,
)
from control_plane.notifying.signing import signed_headers
from control_plane.outgoing.posting import Poster
from control_plane.storage.database import Database
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import get_logger

POLL_S: Final = 0.25
SURVEY_S: Final = 5.0
SLOTS_PER_ENDPOINT: Final = 8
"""Messages on their way to one endpoint at a time: one that hangs takes no other's."""

CLAIM_MARGIN_MS: Final = 5_000
"""How much longer than a try may take a claim holds."""

_log = get_logger("outgoing")


class Survey(NamedTuple):
    """What waits."""

    pending: int
    oldest_age_s: float


class Deliverer:
    """One control plane's deliveries. Claims in the database keep others from the same.

    `on_tried` is told how each try ended and its seconds, `on_dead` how many died with it,
    `on_surveyed` what waits.
    """

    def __init__(
        self,
        database: Database,
        poster: Poster,
        terms: RetryTerms,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._database = database
        self._poster = poster
        self._terms = terms
        self._now_ms = now_ms
        self._random = random
        claim_ms = int(poster.timeout_s * 1_000) + CLAIM_MARGIN_MS
        self._claimant = Claimant(f"cp-{secrets.token_hex(8)}", claim_ms)
        self._busy: Counter[str] = Counter()
        self._done: list[Outcome] = []
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._surveyed_at_s = 0.0
        self.on_tried: Callable[[str, float], None] = _ignore_try
        self.on_dead: Callable[[int], None] = _ignore_dead
        self.on_surveyed: Callable[[Survey], None] = _ignore_survey

    async def run(self) -> None:
        """Send until cancelled. What is on its way then is claimed again when its claim ends."""
        try:
            while True:
                try:
                    is_more = await self.step()
                except UnavailableError as error:
                    _log.warning("webhooks not sent; tried again later", error=str(error))
                    is_more = False
                if not is_more:
                    await self._wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look at once: there may be something to send."""
        self._changed.set()

    async def step(self) -> bool:
        """Take in what ended, and begin what is due; whether there may be more at once."""
        await self._survey()
        done = list(self._done)
        full = [each for each, count in self._busy.items() if count >= SLOTS_PER_ENDPOINT]
        if not done and not await self._database.read(
            lambda connection: has_due(connection, full, self._now_ms())
        ):
            return False
        waits = [
            (outcome, self._terms.backoff_ms(outcome.claimed.attempts + 1, self._random))
            for outcome in done
        ]

        def work(connection: Connection) -> tuple[dict[DeliveryState, int], list[Claimed]]:
            now_ms = self._now_ms()
            counts = settle(connection, self._claimant, waits, now_ms)
            busy = self._busy - Counter(each.claimed.endpoint for each in done)
            claimed = claim(connection, self._claimant, SLOTS_PER_ENDPOINT, busy, now_ms)
            return counts, claimed

        counts, claimed = await self._database.write(work)
        self._took_in(done)
        self.on_dead(counts[DeliveryState.DEAD])
        for each in claimed:
            self._begin(each)
        # Also where nothing could be begun: what is on its way wakes this when it ends.
        return bool(self._done)

    def _took_in(self, done: Sequence[Outcome]) -> None:
        del self._done[: len(done)]
        for outcome in done:
            self._busy[outcome.claimed.endpoint] -= 1

    def _begin(self, claimed: Claimed) -> None:
        self._busy[claimed.endpoint] += 1
        task = asyncio.create_task(self._send(claimed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, claimed: Claimed) -> None:
        started_s = perf_counter()
        headers = signed_headers(claimed.message, claimed.body, claimed.secrets, self._now_ms())
        answer = await self._poster.post(claimed.url, claimed.body, headers)
        outcome = Outcome(
            claimed,
            answer.status_code,
            answer.error,
            min(answer.retry_after_s * 1_000, self._terms.backoff_ms_max),
        )
        self._done.append(outcome)
        self.on_tried("ok" if outcome.is_delivered else "failed", perf_counter() - started_s)
        if not outcome.is_delivered:
            _log.warning(
                "webhook not taken",
                endpoint=claimed.endpoint,
                message=claimed.message,
                attempts=claimed.attempts + 1,
                error=answer.error,
            )
        self._changed.set()

    async def _survey(self) -> None:
        """Bound the queues and say what waits, now and then."""
        if monotonic() - self._surveyed_at_s < SURVEY_S:
            return
        self._surveyed_at_s = monotonic()
        now_ms = self._now_ms()
        pending, oldest_ms = await self._database.read(oldest_pending_ms)
        age_s = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1_000
        self.on_surveyed(Survey(pending, age_s))
        if pending > QUEUE_MAX:
            self.on_dead(await self._database.write(lambda c: shed(c, now_ms)))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()


def _ignore_try(_result: str, _seconds: float) -> None:
    return


def _ignore_dead(_count: int) -> None:
    return


def _ignore_survey(_survey: Survey) -> None:
    return
