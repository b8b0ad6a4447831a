"""Runs exporters as long as the control plane does; and once, or only to look, when asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from sqlalchemy import Connection

from control_plane.exporters.config import (
    ExporterConfig,
    ExportsConfig,
    FilesExporter,
    StripeExporter,
    WebhookExporter,
    ZuoraExporter,
)
from control_plane.exporters.items import Item, ItemState, Target
from control_plane.exporters.queue import list_items, note_outcomes, take_due
from control_plane.exporters.summing import claim, make_items, open_cursor, sum_events, take_over
from control_plane.storage.database import Database
from weighbridge.rules.errors import FailedPreconditionError, NotFoundError, UnavailableError
from weighbridge.runtime.logs import get_logger
from weighbridge.runtime.tokens import read_secret_file

POLL_S: Final = 5.0
CLAIM_MS: Final = 60_000
PREVIEW_MAX: Final = 1_000

_log = get_logger("exporters")


class Ran(NamedTuple):
    """What one run did: events summed, items made, sent, and left to be tried again."""

    events: int
    items: int
    sent: int
    failed: int


class _RollBackError(Exception):
    """Ends a transaction that was only for looking."""


def open_target(config: ExporterConfig, now_ms: Callable[[], int]) -> Target:
    """Return where an exporter sends to.

    Raises NotFoundError where a secret's file is missing, and FailedPreconditionError where a
    library is. Each kind's libraries are loaded only where there is such an exporter.
    """
    try:
        return _open_target(config, now_ms)
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(
            f"exporter {config.id!r} needs the module {error.name}; install weighbridge[exports]"
        ) from error


def _open_target(config: ExporterConfig, now_ms: Callable[[], int]) -> Target:
    match config:
        case StripeExporter():
            from control_plane.exporters.stripe_target import StripeTarget  # noqa: PLC0415

            return StripeTarget(config, read_secret_file(config.api_key_file), now_ms)
        case ZuoraExporter():
            from control_plane.exporters.zuora_target import ZuoraTarget  # noqa: PLC0415

            return ZuoraTarget(config, read_secret_file(config.client_secret_file))
        case WebhookExporter():
            from control_plane.exporters.webhook_target import WebhookTarget  # noqa: PLC0415

            return WebhookTarget(config, read_secret_file(config.secret_file), now_ms)
        case FilesExporter():
            from control_plane.exporters.files_target import FilesTarget  # noqa: PLC0415

            return FilesTarget(config)


class Exporter:
    """One exporter: its sums, its items, and where they go. One run at a time."""

    def __init__(
        self, config: ExporterConfig, database: Database, owner: str, now_ms: Callable[[], int]
    ) -> None:
        self.config = config
        self._database = database
        self._owner = owner
        self._now_ms = now_ms
        self._running = asyncio.Lock()
        self._target = open_target(config, now_ms)

    async def open(self) -> None:
        """Begin with what is settled from now on, where the exporter is new.

        A process that starts takes over from one that died: what both send counts once.
        """

        def begin(connection: Connection) -> None:
            open_cursor(connection, self.config)
            take_over(connection, self.config.id)

        await self._database.write(begin)

    async def run(self, *, include_open: bool = False) -> Ran:
        """Sum what is new, make items of windows that ended, and send all that is due.

        With `include_open`, windows that have not ended become items too.
        """
        async with self._running:
            if not await self._database.write(self._claim):
                return Ran(0, 0, 0, 0)
            events = await self._all(lambda c: sum_events(c, self.config))
            items = await self._all(lambda c: self._make_items(c, include_open=include_open))
            sent = failed = 0
            while True:
                done = await self._send_batch()
                if done is None:
                    break
                sent += done[0]
                failed += done[1]
            return Ran(events, items, sent, failed)

    async def preview(self, *, include_open: bool = False) -> list[Item]:
        """Return what a run would send, and change nothing."""
        found: list[Item] = []

        def look(connection: Connection) -> None:
            while sum_events(connection, self.config):
                pass
            while self._make_items(connection, include_open=include_open):
                pass
            pending = list_items(connection, self.config.id, ItemState.PENDING, PREVIEW_MAX, 0)
            found[:] = pending
            raise _RollBackError

        with suppress(_RollBackError):
            await self._database.write(look)
        return found

    def close(self) -> None:
        """Let connections go."""
        self._target.close()

    def _make_items(self, connection: Connection, *, include_open: bool) -> int:
        now_ms = self._now_ms()
        ended_ms = None if include_open else now_ms - self.config.settle_after_s * 1_000
        return make_items(connection, self.config, now_ms, ended_ms)

    def _claim(self, connection: Connection) -> bool:
        open_cursor(connection, self.config)
        now_ms = self._now_ms()
        return claim(connection, self.config.id, self._owner, now_ms, now_ms + CLAIM_MS)

    async def _all(self, work: Callable[[Connection], int]) -> int:
        total = 0
        while True:
            done = await self._database.write(work)
            total += done
            if not done:
                return total
            await self._database.write(self._claim)

    async def _send_batch(self) -> tuple[int, int] | None:
        if not await self._database.write(self._claim):
            return None
        now_ms = self._now_ms()
        items = await self._database.write(lambda c: take_due(c, self.config, self._target, now_ms))
        if not items:
            return None
        outcomes = await asyncio.to_thread(self._target.send, items)
        noted_ms = self._now_ms()
        await self._database.write(
            lambda c: note_outcomes(c, self.config, items, outcomes, noted_ms)
        )
        sent = sum(outcome.state is ItemState.SENT for outcome in outcomes.values())
        if sent < len(items):
            error = next(o.error for o in outcomes.values() if o.state is not ItemState.SENT)
            _log.warning("items not sent", exporter=self.config.id, error=error)
        return sent, len(items) - sent


class Exporting:
    """All exporters of this control plane."""

    def __init__(
        self,
        config: ExportsConfig,
        database: Database,
        owner: str,
        now_ms: Callable[[], int],
    ) -> None:
        self.exporters: Mapping[str, Exporter] = {
            each.id: Exporter(each, database, owner, now_ms) for each in config.exporters
        }
        self.on_ran: Callable[[str, Ran], None] = _ignore

    def require(self, exporter: str) -> Exporter:
        """Return an exporter. Raises NotFoundError naming those there are."""
        found = self.exporters.get(exporter)
        if found is None:
            names = ", ".join(self.exporters) or "none"
            raise NotFoundError(f"exporter {exporter!r} is not configured; there are: {names}")
        return found

    async def open(self) -> None:
        """Have each know where it begins."""
        for each in self.exporters.values():
            await each.open()

    async def run(self) -> None:
        """Run each by turns until cancelled."""
        while True:
            for name, each in self.exporters.items():
                try:
                    self.on_ran(name, await each.run())
                except UnavailableError as error:
                    _log.warning("export put off", exporter=name, error=str(error))
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Let connections go."""
        for each in self.exporters.values():
            each.close()


def _ignore(_exporter: str, _ran: Ran) -> None:
    return
