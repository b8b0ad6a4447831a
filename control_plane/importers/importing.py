"""Takes events: all that one does in one transaction, with its id; else it is kept aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from control_plane.importers.config import ImportsConfig
from control_plane.importers.customers import (
    CustomerChanges,
    WantedCustomer,
    import_customers,
)
from control_plane.importers.events import (
    EventState,
    IncomingEvent,
    KnownEvent,
    Taken,
    find_event,
    list_events,
    note_event,
    require_event,
)
from control_plane.importers.work import STRIPE, Work
from control_plane.provisioning import CatalogLibrary
from control_plane.storage.database import Database
from weighbridge.rules.errors import (
    FailedPreconditionError,
    UnavailableError,
    WeighbridgeError,
)
from weighbridge.runtime.logs import get_logger
from weighbridge.runtime.tokens import read_secret_file

_log = get_logger("importing")

REFUSED = "refused"
REPEATED = "repeated"


class Receipt(NamedTuple):
    """What became of an event, now or when it came first."""

    taken: Taken
    is_repeated: bool


class _DryRunEndedError(Exception):
    def __init__(self, changed: list[CustomerChanges]) -> None:
        super().__init__()
        self.changed = changed


class Importing:
    """Belongs to one event loop. `on_taken` hears of each request: source, and what became of it.

    `on_changed` hears which customer changed, after the commit.
    """

    def __init__(
        self,
        config: ImportsConfig,
        database: Database,
        library: CatalogLibrary,
        now_ms: Callable[[], int],
    ) -> None:
        self.config = config
        self._database = database
        self._library = library
        self._now_ms = now_ms
        self._secret = ""
        self.on_taken: Callable[[str, str], None] = lambda _source, _outcome: None
        self.on_changed: Callable[[str], None] = lambda _customer: None
        if config.stripe is not None:
            self._secret = read_secret_file(config.stripe.secret_file)
            self._load_stripe()

    async def receive_stripe(self, body: bytes, signature: str) -> Receipt:
        """Take what a request brings. Raises InvalidArgumentError where it is not from Stripe."""
        from control_plane.importers.stripe_events import signed_event  # noqa: PLC0415

        config = self.config.stripe
        assert config is not None, "its address is served only where it is configured"
        try:
            event = signed_event(body, signature, self._secret, config.tolerance_s)
        except WeighbridgeError:
            self.on_taken(STRIPE, REFUSED)
            raise
        return await self.take(event)

    async def take(self, event: IncomingEvent) -> Receipt:
        """Apply an event, once; what cannot be applied is kept aside. Raises UnavailableError."""

        def write(connection: Connection) -> Receipt:
            known = find_event(connection, event.source, event.id)
            if known is not None:
                return Receipt(known.taken, is_repeated=True)
            return Receipt(self._apply(connection, event), is_repeated=False)

        return await self._committed(event, write)

    async def replay(self, source: str, event_id: str) -> KnownEvent:
        """Apply again what was set aside.

        Raises NotFoundError, and FailedPreconditionError where it is not set aside.
        """

        def read(connection: Connection) -> IncomingEvent:
            known = require_event(connection, source, event_id)
            if known.taken.state is not EventState.SET_ASIDE:
                state = known.taken.state.value
                raise FailedPreconditionError(f"event {event_id!r} is {state}, not set aside")
            return known.event

        event = await self._database.read(read)

        def write(connection: Connection) -> Receipt:
            # Asked for twice at once, it is applied once.
            read(connection)
            return Receipt(self._apply(connection, event), is_repeated=False)

        await self._committed(event, write)
        return await self._database.read(lambda c: require_event(c, source, event_id))

    async def list_events(
        self, state: EventState | None, page_size: int, page_token: str
    ) -> tuple[list[KnownEvent], str]:
        """Return a page of events, oldest first."""
        return await self._database.read(lambda c: list_events(c, state, page_size, page_token))

    async def import_customers(
        self, rows: Sequence[WantedCustomer], *, is_dry_run: bool
    ) -> list[CustomerChanges]:
        """Have customers be as wanted, all or none; of a dry run, only say what would change.

        Raises WeighbridgeError naming the line.
        """

        def write(connection: Connection) -> list[CustomerChanges]:
            changed = import_customers(connection, self._library, rows, self._now_ms())
            if is_dry_run:
                # What is raised undoes the transaction.
                raise _DryRunEndedError(changed)
            return changed

        try:
            changed = await self._database.write(write)
        except _DryRunEndedError as ended:
            return ended.changed
        for each in changed:
            if each.changes:
                self.on_changed(each.customer)
        return changed

    async def _committed(
        self, event: IncomingEvent, write: Callable[[Connection], Receipt]
    ) -> Receipt:
        try:
            receipt = await self._database.write(write)
        except UnavailableError:
            raise
        except WeighbridgeError as error:
            receipt = await self._set_aside(event, str(error))
        taken = receipt.taken
        self.on_taken(event.source, REPEATED if receipt.is_repeated else taken.state.value)
        if taken.customer and not receipt.is_repeated:
            self.on_changed(taken.customer)
        if taken.state is EventState.SET_ASIDE and not receipt.is_repeated:
            _log.warning("event set aside", event_id=event.id, type=event.type, reason=taken.reason)
        return receipt

    async def _set_aside(self, event: IncomingEvent, reason: str) -> Receipt:
        taken = Taken(EventState.SET_ASIDE, reason)

        def write(connection: Connection) -> Receipt:
            known = find_event(connection, event.source, event.id)
            if known is not None and known.taken.state is not EventState.SET_ASIDE:
                return Receipt(known.taken, is_repeated=True)
            note_event(connection, event, taken, self._now_ms())
            return Receipt(taken, is_repeated=False)

        return await self._database.write(write)

    def _apply(self, connection: Connection, event: IncomingEvent) -> Taken:
        from control_plane.importers.stripe_events import apply_event  # noqa: PLC0415

        if self.config.stripe is None:
            raise FailedPreconditionError(f"imports of {event.source} are not configured any more")
        now_ms = self._now_ms()
        taken = apply_event(Work(connection, self._library, self.config.stripe, now_ms), event)
        note_event(connection, event, taken, now_ms)
        return taken

    def _load_stripe(self) -> None:
        try:
            import control_plane.importers.stripe_events  # noqa: F401, PLC0415
        except ModuleNotFoundError as error:
            raise FailedPreconditionError(
                f"imports need the module {error.name}; install weighbridge[exports]"
            ) from error
