"""Works out what to send a sidecar next. Values, not messages: the API makes those of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from control_plane.granting.work import TermsRenewed
from control_plane.metering.records import RecordMark
from control_plane.metering.totals import WindowTotal
from control_plane.provisioning import CatalogLibrary, current_revision, load_draft
from control_plane.provisioning.drafts import CompiledDraft
from control_plane.publishing.loading import Loaded, SnapshotLoader
from control_plane.publishing.outbox import Revoked, Totals, Urgent
from control_plane.publishing.publisher import marks_of
from control_plane.publishing.sessions import SidecarSession
from control_plane.storage import tables
from control_plane.storage.database import Database
from weighbridge.rules.catalog import Catalog, Customer, CustomerStatus, Edition
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.runtime.logs import get_logger

CUSTOMERS_PER_LOAD: Final = 200
CUSTOMERS_PER_CHECK: Final = 500

_log = get_logger("publishing")


class WholeCustomer(NamedTuple):
    """A customer with its totals and the receiver's records that these include."""

    customer: Customer
    totals: tuple[WindowTotal, ...]
    included: tuple[RecordMark, ...]


class Unknown(NamedTuple):
    """There is no such customer at this revision."""

    customer: str
    version: int


class NoDraft(NamedTuple):
    """A catalog has no draft."""

    catalog: str


class InitialComplete(NamedTuple):
    """All that the greeting asked for has been sent."""

    revision: int
    usage_revision: int


class Beat(NamedTuple):
    """A heartbeat; the revisions are 0 while something still waits.

    `number` is the sidecar's heartbeat that the terms of its leases were extended for; 0: none.
    """

    now_ms: int
    revision: int
    usage_revision: int
    number: int = 0


Delivery = (
    Urgent
    | Totals
    | Catalog
    | CompiledDraft
    | NoDraft
    | WholeCustomer
    | Unknown
    | InitialComplete
    | Beat
)


class Deliverer:
    """Feeds one session's stream."""

    def __init__(
        self,
        session: SidecarSession,
        database: Database,
        library: CatalogLibrary,
        loader: SnapshotLoader,
        now_ms: Callable[[], int],
    ) -> None:
        self._session = session
        self._database = database
        self._library = library
        self._loader = loader
        self._now_ms = now_ms

    async def next(self) -> Sequence[Delivery]:
        """Return what to send next; nothing where nothing waits."""
        outbox = self._session.outbox
        urgent = outbox.take_urgent()
        if urgent is not None:
            return (self._delivered(urgent),)
        totals = outbox.take_totals()
        if totals is not None:
            return (totals._replace(usage_revision=self._reached().usage_revision),)
        catalogs = outbox.take_catalogs()
        if catalogs:
            return await self._load_catalogs(catalogs)
        drafts = outbox.take_drafts()
        if drafts:
            return await self._load_drafts(drafts)
        customers = outbox.take_customers(CUSTOMERS_PER_LOAD)
        if customers:
            return await self._load_customers(customers)
        return await self._complete()

    def _delivered(self, urgent: Urgent) -> Delivery:
        if isinstance(urgent, TermsRenewed):
            return self.beat()._replace(number=urgent.number)
        return urgent

    def beat(self) -> Beat:
        """Return a heartbeat; it promises what was sent only where nothing waits."""
        reached = self._reached()
        return Beat(self._now_ms(), reached.revision, reached.usage_revision)

    def _reached(self) -> InitialComplete:
        """Return the revisions up to which all has been sent; 0 where something waits."""
        session = self._session
        is_idle = session.is_initial_complete and not session.outbox
        if not is_idle or session.totals_since is not None:
            return InitialComplete(0, 0)
        return InitialComplete(session.revision, session.usage_revision)

    async def _complete(self) -> Sequence[Delivery]:
        session = self._session
        if session.backlog_revision is not None:
            await self._read_backlog(session.backlog_revision)
            return ()
        if session.unchecked:
            await self._check_held()
            return ()
        if session.is_initial_complete or session.totals_since is not None:
            return ()
        session.is_initial_complete = True
        return (InitialComplete(session.revision, session.usage_revision),)

    async def _read_backlog(self, since: int) -> None:
        session = self._session
        customer = tables.customer.c
        query = (
            select(customer.id, customer.version)
            .where(customer.version > since, customer.version <= session.backlog_until)
            .order_by(customer.version)
            .limit(CUSTOMERS_PER_LOAD)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        session.backlog_revision = rows[-1].version if rows else None
        session.outbox.put_customers(row.id for row in rows)

    async def _check_held(self) -> None:
        """Send again only what has another version than the sidecar holds, or is unknown."""
        session = self._session
        asked = list(session.unchecked)[:CUSTOMERS_PER_CHECK]
        customer = tables.customer.c
        query = select(customer.id, customer.version).where(customer.id.in_(asked))
        rows = await self._database.read(lambda c: c.execute(query).all())
        versions = {row.id: row.version for row in rows}
        held = {name: session.unchecked.pop(name) for name in asked}
        session.outbox.put_customers(n for n in asked if versions.get(n) != held[n])

    async def _load_catalogs(self, catalogs: Iterable[str]) -> list[Delivery]:
        def load(connection: Connection) -> tuple[list[Catalog], int]:
            found = [self._library.load(connection, catalog) for catalog in catalogs]
            return found, current_revision(connection)

        loaded, revision = await self._database.read(load)
        self._session.note_read(revision, 0)
        self._session.catalogs.update((catalog.id, catalog.edition) for catalog in loaded)
        return [*loaded]

    async def _load_drafts(self, catalogs: Iterable[str]) -> list[Delivery]:
        return await self._database.read(lambda c: [self._draft(c, each) for each in catalogs])

    def _draft(self, connection: Connection, catalog: str) -> CompiledDraft | NoDraft:
        try:
            return load_draft(connection, self._library, catalog) or NoDraft(catalog)
        except FailedPreconditionError as error:
            # What decides nothing must not end the stream of what does.
            _log.error("draft not sent", catalog=catalog, problem=str(error))
            return NoDraft(catalog)

    async def _load_customers(self, customers: Sequence[str]) -> list[Delivery]:
        session = self._session
        loaded = await self._loader.load(customers, session.greeting.epochs)
        session.note_read(loaded.revision, loaded.usage_revision)
        parts = [(customers, loaded)]
        # Followed first and read then, so that no change of theirs is missed in between.
        above = session.follow(loaded.above(customers))
        above += session.outbox.take_these(loaded.above(customers))
        if above:
            parts.insert(0, (above, await self._loader.load(above, session.greeting.epochs)))
        deliveries: list[Delivery] = []
        needed: set[str] = set()
        for names, of in parts:
            for customer in names:
                session.outbox.drop_older_totals(customer, of.usage_revision)
                deliveries.append(self._delivery(customer, of))
            needed |= self._catalogs_needed(of)
        # A catalog that the customers need goes first, also where no notice of it came so far.
        catalogs = needed.union(session.outbox.take_catalogs())
        if catalogs:
            deliveries = [*await self._load_catalogs(catalogs), *deliveries]
        return deliveries

    def _catalogs_needed(self, loaded: Loaded) -> set[str]:
        held = self._session.catalogs
        return {
            found.customer.catalog
            for found in loaded.customers.values()
            if held.get(found.customer.catalog, Edition()) < found.customer.edition_min
        }

    def _delivery(self, customer: str, loaded: Loaded) -> Delivery:
        found = loaded.customers.get(customer)
        if found is None:
            return Unknown(customer, loaded.revision)
        if found.customer.status is CustomerStatus.REVOKED:
            return Revoked(customer, found.customer.version, found.customer.parent)
        included = marks_of(self._session.greeting.epochs, loaded.marks)
        return WholeCustomer(found.customer, found.totals, included)
