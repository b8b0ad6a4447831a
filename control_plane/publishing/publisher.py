"""Follows what changes in the database and puts it into the outboxes of those who want it.

A notice tells that something changed; what changed is read from the database, where every change
has a revision. A notice that is lost only delays: the database is looked at every second anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from control_plane.metering.records import EpochKey, RecordMark
from control_plane.provisioning import (
    CatalogLibrary,
    catalog_editions,
    current_revision,
    draft_numbers,
)
from control_plane.publishing.incarnations import begin_incarnation
from control_plane.publishing.loading import (
    ChangedTotals,
    FeatureKey,
    FeatureTotals,
    SnapshotReader,
)
from control_plane.publishing.notices import ChangeNotice, ChangeNotices
from control_plane.publishing.outbox import Revoked
from control_plane.publishing.sessions import Interest, SessionRegistry, SidecarSession
from control_plane.storage import tables
from control_plane.storage.database import Database
from weighbridge.rules.catalog import CustomerStatus, Edition
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import get_logger

POLL_S: Final = 1.0
TOTALS_INTERVAL_S: Final = 0.03
CHANGES_PER_READ: Final = 2_000

_log = get_logger("publishing")


class ChangedCustomer(NamedTuple):
    """A customer with a new version."""

    id: str
    version: int
    is_revoked: bool
    parent: str


class DraftMark(NamedTuple):
    """Which draft, and the live content it is compiled against."""

    number: int
    live: Edition


class Changes(NamedTuple):
    """What changed after a revision, at most a page of it; up to which revision that is all."""

    customers: list[ChangedCustomer]
    catalogs: dict[str, Edition]
    drafts: dict[str, DraftMark]
    revision: int
    is_last: bool


class Publisher:
    """Runs as long as the control plane does."""

    def __init__(
        self,
        database: Database,
        library: CatalogLibrary,
        notices: ChangeNotices,
        registry: SessionRegistry,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._registry = registry
        self._reader = SnapshotReader(library, now_ms)
        self._now_ms = now_ms
        self.incarnation = ""
        self._changed = asyncio.Event()
        self._totals_changed = asyncio.Event()
        self._catalogs: dict[str, Edition] = {}
        self._drafts: dict[str, DraftMark] = {}
        self._revision = 0
        self._usage_revision = 0
        self._stop_listening = notices.listen(self._note)

    async def start(self) -> None:
        """Take the present as published: sessions begin with what there is."""
        self.incarnation = await self._database.write(
            lambda c: begin_incarnation(c, self._now_ms())
        )
        changes = await self._database.read(_present)
        self._revision, self._catalogs = changes.revision, changes.catalogs
        self._drafts = changes.drafts
        totals = await self._database.read(lambda c: self._reader.changed_totals(c, 2**62, ()))
        self._usage_revision = totals.usage_revision

    async def run(self) -> None:
        """Follow changes until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(self._changed, 0.0, self._publish_changes))
            group.create_task(
                self._follow(self._totals_changed, TOTALS_INTERVAL_S, self._publish_totals)
            )

    @property
    def usage_revision(self) -> int:
        """Up to which usage revision totals were put into every outbox."""
        return self._usage_revision

    def usage_settled(self) -> None:
        """Note that totals changed."""
        self._totals_changed.set()

    def connect(self, session: SidecarSession) -> None:
        """Begin to publish to a sidecar: first what it lacks, then every change."""
        greeting = session.greeting
        self._registry.add(session)
        session.revision = self._revision
        held = greeting.catalogs
        session.outbox.put_catalogs(
            c for c, edition in self._catalogs.items() if held.get(c, Edition()) < edition
        )
        # Whatever it holds of drafts may have been compiled against something older.
        session.outbox.put_drafts({*self._drafts, *greeting.drafts})
        # Where nothing was settled so far, holding no totals is holding all of them.
        is_fresh = greeting.is_fresh and self._usage_revision > 0
        if greeting.interest is Interest.ALL:
            session.backlog_revision = 0 if is_fresh else greeting.held_revision
            # What changed later comes as a change, so nothing is sent twice.
            session.backlog_until = self._revision
        elif is_fresh:
            session.outbox.put_customers(greeting.customers)
        else:
            session.unchecked = dict(greeting.customers)
        session.usage_revision = self._usage_revision
        if not is_fresh:
            session.totals_since = greeting.held_usage_revision
            self._totals_changed.set()
        session.wake()

    def wake_all(self) -> None:
        """Have every session look again at what it is to do."""
        for session in self._registry.all():
            session.wake()

    def disconnect(self, session: SidecarSession) -> None:
        """End publishing to a sidecar."""
        self._registry.remove(session)

    def close(self) -> None:
        """Listen to no more notices."""
        self._stop_listening()

    def _note(self, _notice: ChangeNotice) -> None:
        self._changed.set()

    async def _follow(
        self, wake: asyncio.Event, interval_s: float, publish: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_S):
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()
            try:
                await publish()
            except UnavailableError as error:
                _log.warning("changes not published; tried again", error=str(error))
                await asyncio.sleep(POLL_S)
                wake.set()
            await asyncio.sleep(interval_s)

    async def _publish_changes(self) -> None:
        is_last = False
        while not is_last:
            changes = await self._database.read(partial(_changes, revision=self._revision))
            self._distribute(changes)
            is_last = changes.is_last

    def _distribute(self, changes: Changes) -> None:
        catalogs = [c for c, e in changes.catalogs.items() if self._catalogs.get(c) != e]
        drafts = {c for c, _ in self._drafts.items() ^ changes.drafts.items()}
        for session in self._registry.all():
            session.outbox.put_drafts(drafts)
            session.outbox.put_catalogs(
                c for c in catalogs if session.catalogs.get(c, Edition()) < changes.catalogs[c]
            )
            wanted = [c for c in changes.customers if session.wants(c.id)]
            session.outbox.put_customers(c.id for c in wanted if not c.is_revoked)
            for customer in wanted:
                if customer.is_revoked:
                    session.outbox.put_urgent(
                        Revoked(customer.id, customer.version, customer.parent)
                    )
            session.revision = changes.revision
            if catalogs or drafts or wanted:
                session.wake()
        self._catalogs = changes.catalogs
        self._drafts = changes.drafts
        self._revision = changes.revision

    async def _publish_totals(self) -> None:
        sessions = self._registry.all()
        before = self._usage_revision
        # Whoever comes back has missed some more.
        since = min([before, *(_missed_since(session) for session in sessions)])
        epochs = {epoch for session in sessions for epoch in session.greeting.epochs}
        changed = await self._database.read(lambda c: self._reader.changed_totals(c, since, epochs))
        recent = _changed_after(changed, before) if since < before else changed
        for session in sessions:
            missed = _missed_since(session)
            self._put_totals(
                session, recent if missed == before else _changed_after(changed, missed)
            )
        self._usage_revision = changed.usage_revision
        for session in self._registry.all():
            if session.usage_revision < changed.usage_revision and session.totals_since is None:
                # It connected while this was read, and its first snapshots may be older.
                session.totals_since = before
                self._totals_changed.set()

    @staticmethod
    def _put_totals(session: SidecarSession, changed: ChangedTotals) -> None:
        if session.greeting.interest is Interest.ALL:
            wanted = changed.totals
        else:
            wanted = {c: totals for c, totals in changed.totals.items() if session.wants(c)}
        is_late = session.totals_since is not None
        if wanted:
            included = marks_of(session.greeting.epochs, changed.marks)
            session.outbox.put_totals(wanted, included)
        session.totals_since = None
        session.usage_revision = changed.usage_revision
        if wanted or is_late:
            session.wake()


def _missed_since(session: SidecarSession) -> int:
    """Return the usage revision up to which a session has all changes of totals."""
    return session.usage_revision if session.totals_since is None else session.totals_since


def _changed_after(changed: ChangedTotals, usage_revision: int) -> ChangedTotals:
    totals: dict[str, dict[FeatureKey, FeatureTotals]] = {}
    for customer, features in changed.totals.items():
        kept = {key: of for key, of in features.items() if of.usage_revision > usage_revision}
        if kept:
            totals[customer] = kept
    return changed._replace(totals=totals)


def marks_of(
    epochs: Iterable[EpochKey], marks: dict[EpochKey, RecordMark]
) -> tuple[RecordMark, ...]:
    """Return the marks of a sidecar's own epochs."""
    return tuple(mark for epoch in epochs if (mark := marks.get(epoch)) is not None)


def _present(connection: Connection) -> Changes:
    editions = catalog_editions(connection)
    drafts = _drafts(connection, editions)
    return Changes([], editions, drafts, current_revision(connection), is_last=True)


def _drafts(connection: Connection, editions: dict[str, Edition]) -> dict[str, DraftMark]:
    numbers = draft_numbers(connection)
    return {catalog: DraftMark(number, editions[catalog]) for catalog, number in numbers.items()}


def _changes(connection: Connection, revision: int) -> Changes:
    customer = tables.customer.c
    rows = connection.execute(
        select(customer.id, customer.version, customer.status, customer.parent_id)
        .where(customer.version > revision)
        .order_by(customer.version)
        .limit(CHANGES_PER_READ)
    ).all()
    is_last = len(rows) < CHANGES_PER_READ
    reached = current_revision(connection) if is_last else rows[-1].version
    revoked = CustomerStatus.REVOKED.value
    editions = catalog_editions(connection)
    return Changes(
        [
            ChangedCustomer(row.id, row.version, row.status == revoked, row.parent_id or "")
            for row in rows
        ],
        editions,
        _drafts(connection, editions),
        reached,
        is_last,
    )
