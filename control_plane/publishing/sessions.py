"""One session per connected sidecar: who it is, what it wants, and what waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

from control_plane.granting.rate_desk import HeldShare
from control_plane.leasing.holding import HolderClaim
from control_plane.metering.records import EpochKey
from control_plane.publishing.incarnations import Seen
from control_plane.publishing.outbox import Outbox, Urgent
from weighbridge.rules.catalog import Edition
from weighbridge.rules.errors import ResourceExhaustedError

NACKS_KEPT: Final = 100
CUSTOMERS_MAX: Final = 1_000_000


class Interest(Enum):
    """Which customers a sidecar holds."""

    ALL = "all"
    LISTED = "listed"
    ON_DEMAND = "on_demand"


class Refused(NamedTuple):
    """A snapshot that a sidecar could not apply."""

    catalog: str
    customer: str
    version: int
    detail: str


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a sidecar says of itself when it connects. Versions held are by id; 0 is none.

    `epochs` are all it keeps records of, its own last; `drafts` are the catalogs it has drafts of;
    `claim` is what it says of leases, `rate_shares` what it has of rates.
    """

    sidecar_id: str
    epoch: str
    predecessor: str
    boot_id: str
    software_version: str
    interest: Interest
    customers: dict[str, int]
    catalogs: dict[str, Edition]
    held_revision: int
    held_usage_revision: int
    epochs: tuple[EpochKey, ...]
    seen: Seen
    claim: HolderClaim
    drafts: tuple[str, ...] = ()
    rate_shares: tuple[HeldShare, ...] = ()

    def without_held(self) -> Greeting:
        """Return it as if nothing were held."""
        return replace(
            self,
            customers=dict.fromkeys(self.customers, 0),
            catalogs={},
            held_revision=0,
            held_usage_revision=0,
        )

    @property
    def is_fresh(self) -> bool:
        """Whether it holds nothing that could be brought up to date: it gets everything whole."""
        return self.held_usage_revision == 0


class SidecarSession:
    """A stream to a sidecar. All of it on one event loop."""

    def __init__(self, greeting: Greeting, connected_at_ms: int) -> None:
        self.greeting = greeting
        self.connected_at_ms = connected_at_ms
        self.customers = set(greeting.customers)
        # Editions of catalogs it holds or was sent.
        self.catalogs = dict(greeting.catalogs)
        self.outbox = Outbox()
        self.nacks: deque[Refused] = deque(maxlen=NACKS_KEPT)
        # How far changes were put into the outbox: sent, once it is empty.
        self.revision = 0
        self.usage_revision = 0
        # The newest state of the database that anything sent was read from.
        self._read = Seen()
        # Interest ALL: customers with a version above are still to be put into the outbox.
        self.backlog_revision: int | None = None
        self.backlog_until = 0
        # Otherwise: customers whose versions held are still to be compared.
        self.unchecked: dict[str, int] = {}
        self.is_initial_complete = False
        # Totals that changed since are to be put into the outbox first.
        self.totals_since: int | None = None
        self.is_replaced = asyncio.Event()
        # Why the stream has to end.
        self.failure: Exception | None = None
        self._wake = asyncio.Event()

    def wants(self, customer: str) -> bool:
        """Whether it is to hear of the customer."""
        return self.greeting.interest is Interest.ALL or customer in self.customers

    def note_read(self, revision: int, usage_revision: int) -> None:
        """Note at which revisions something was read that is to be sent."""
        self._read = Seen(
            revision=max(self._read.revision, revision),
            usage_revision=max(self._read.usage_revision, usage_revision),
        )

    @property
    def seen(self) -> Seen:
        """The newest that the sidecar can have seen, with all that was sent so far."""
        return Seen(
            revision=max(self._read.revision, self.revision),
            usage_revision=max(self._read.usage_revision, self.usage_revision),
        )

    def put_urgent(self, messages: Iterable[Urgent]) -> None:
        """Send before everything else."""
        for message in messages:
            self.outbox.put_urgent(message)
        self.wake()

    def fail(self, error: Exception) -> None:
        """Have the stream end with an error."""
        self.failure = self.failure or error
        self.wake()

    def subscribe(self, customers: Iterable[str]) -> None:
        """Send customers whole, and their changes from now on.

        Those above them are followed when their turn comes: it is known then who that is.
        """
        wanted = list(customers)
        self.follow(wanted)
        self.outbox.put_customers(wanted)
        self.wake()

    def follow(self, customers: Iterable[str]) -> list[str]:
        """Send changes of customers from now on; return those of which none were sent so far.

        Raises ResourceExhaustedError past what one sidecar may follow one by one.
        """
        if self.greeting.interest is Interest.ALL:
            return []
        added = [customer for customer in customers if customer not in self.customers]
        self.customers.update(added)
        if len(self.customers) > CUSTOMERS_MAX:
            raise ResourceExhaustedError(
                f"a sidecar may subscribe to {CUSTOMERS_MAX} customers, those above them included; "
                "unsubscribe from some, or follow all"
            )
        return added

    def unsubscribe(self, customers: Iterable[str]) -> None:
        """Send nothing more of customers."""
        dropped = set(customers)
        self.customers -= dropped
        self.outbox.drop_customers(dropped)

    def wake(self) -> None:
        """Note that something waits."""
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until something does, at most that long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()


class SessionRegistry:
    """The sidecars that are connected to this process."""

    def __init__(self) -> None:
        self._sessions: dict[str, SidecarSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: SidecarSession) -> None:
        """Connect a sidecar; an older stream of the same one is told to end."""
        before = self._sessions.get(session.greeting.sidecar_id)
        if before is not None:
            before.is_replaced.set()
            before.wake()
        self._sessions[session.greeting.sidecar_id] = session

    def remove(self, session: SidecarSession) -> None:
        """Disconnect a sidecar, unless a newer stream took its place."""
        if self._sessions.get(session.greeting.sidecar_id) is session:
            del self._sessions[session.greeting.sidecar_id]

    def all(self) -> list[SidecarSession]:
        """Return every session, by sidecar id."""
        return [self._sessions[sidecar_id] for sidecar_id in sorted(self._sessions)]
