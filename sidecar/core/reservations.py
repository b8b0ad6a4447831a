"""Reservations: units held for work whose cost is not known yet.

A hold draws its units from leases at once and counts as used here, so nobody else can have them.
It ends when it is settled or released, or at its own deadline; then it holds nothing, but what the
work used can be settled for a while all the same. What a Meter has told is charged at the deadline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from sidecar.core.book import FeatureKey
from sidecar.core.leases import Pool
from weighbridge.rules.credits import Tariff
from weighbridge.rules.errors import NotFoundError
from weighbridge.rules.window import WindowBounds

TTL_MS_DEFAULT: Final = 300_000
TTL_MS_MIN: Final = 1_000
DAY_MS: Final = 86_400_000
TTL_MS_MAX: Final = DAY_MS

HELD_MS_MAX: Final = 30 * DAY_MS
"""How long a hold lasts at most, with all its extensions: usage settles up to 35 days late."""

SETTLEABLE_MS: Final = 900_000
"""How long after its deadline a hold can still be settled."""

RESTATED_MS: Final = 300_000
"""How often an open hold is written again, so that a restart finds it among recent records."""


class HoldEnd(IntEnum):
    """How a hold ended."""

    SETTLED = 1
    RELEASED = 2
    EXPIRED = 3


class HeldUnits(NamedTuple):
    """Units that a hold drew from one lease, for so much of its amount.

    The pool is None where the lease has ended.
    """

    pool: Pool | None
    lease_id: int
    units: int
    amount: int
    # They are micro-credits.
    is_credit: bool = False

    def with_more(self, units: int, amount: int) -> HeldUnits:
        """Return it with what another part of the hold drew from the same lease."""
        return self._replace(units=self.units + units, amount=self.amount + amount)

    def surplus(self, unused: int) -> int:
        """Return what is not needed where so much of the hold's amount was not used.

        What a part of it cost is known once it is settled: money stays drawn until then.
        """
        if unused < self.amount and self.pool is not None and self.pool.is_money:
            return 0
        used = self.amount - min(unused, self.amount)
        return self.units - -(-self.units * used // self.amount)


class Hold(NamedTuple):
    """A reservation as it is. Instants are on the control plane's clock.

    `used` is what a Meter has told so far, `charged` what of it was charged at the deadline.
    """

    customer: str
    reservation: str
    resource: str
    feature: str
    amount: int
    opened_at_ms: int
    expires_at_ms: int
    held: tuple[HeldUnits, ...] = ()
    dimensions: tuple[tuple[str, str], ...] = ()
    catalog_version: int = 0
    snapshot_version: int = 0
    ancestors: tuple[str, ...] = ()
    has_expired: bool = False
    restated_at_ms: int = 0
    used: int = 0
    charged: int = 0
    # What it costs in credits, as admitted.
    tariff: Tariff | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it."""
        return (self.customer, self.reservation)

    @property
    def held_amount(self) -> int:
        """Units that nobody else can have."""
        return 0 if self.has_expired else self.amount


class Closing(NamedTuple):
    """A hold that holds nothing any more, and why; `charged` where it expired."""

    hold: Hold
    end: HoldEnd
    charged: int = 0


class Reservations:
    """The holds of this sidecar: open ones, and expired ones that can still be settled."""

    def __init__(self) -> None:
        self._holds: dict[tuple[str, str], Hold] = {}
        # Open holds by who they count for: the customer, and everybody above it.
        self._counting: dict[tuple[str, FeatureKey], dict[tuple[str, str], Hold]] = {}
        self.held_units = 0

    def __len__(self) -> int:
        return len(self._holds)

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._holds.values())

    def has_any(self, customer: str) -> bool:
        """Whether a customer has a hold here, or one below it has."""
        return any(
            hold.customer == customer or customer in hold.ancestors for hold in self._holds.values()
        )

    def find(self, customer: str, reservation: str) -> Hold | None:
        """Return a hold."""
        return self._holds.get((customer, reservation))

    def require(self, customer: str, reservation: str) -> Hold:
        """Return a hold. Raises NotFoundError."""
        hold = self.find(customer, reservation)
        if hold is None:
            raise NotFoundError(
                f"reservation {reservation!r} of customer {customer!r} is not held by this "
                "sidecar: it was never made here, ended before, or expired "
                f"{SETTLEABLE_MS // 60_000} minutes ago or more"
            )
        return hold

    def put(self, hold: Hold) -> None:
        """Keep a hold as it is now."""
        self.drop(hold)
        self._holds[hold.key] = hold
        if not hold.has_expired:
            self.held_units += hold.amount
            for counted in _counted_for(hold):
                self._counting.setdefault(counted, {})[hold.key] = hold

    def tell(self, customer: str, reservation: str, used: int) -> None:
        """Note what the work over an open hold has used; the next record that opens it says so."""
        hold = self.find(customer, reservation)
        if hold is not None and not hold.has_expired and used > hold.used:
            self.put(hold._replace(used=used))

    def drop(self, hold: Hold) -> None:
        """Forget a hold."""
        before = self._holds.pop(hold.key, None)
        if before is None or before.has_expired:
            return
        self.held_units -= before.amount
        for counted in _counted_for(before):
            holds = self._counting[counted]
            del holds[hold.key]
            if not holds:
                del self._counting[counted]

    def held(self, customer: str, key: FeatureKey, bounds: WindowBounds | None) -> int:
        """Return the units held that count in a window of somebody's feature."""
        holds = self._counting.get((customer, key))
        if holds is None or bounds is None:
            return 0
        return sum(h.amount for h in holds.values() if bounds.contains(h.opened_at_ms))

    def due(self, now_ms: int) -> list[Hold]:
        """Return the holds that expire now."""
        return [h for h in self if not h.has_expired and h.expires_at_ms <= now_ms]

    def to_restate(self, now_ms: int) -> list[Hold]:
        """Return the holds that were written too long ago."""
        return [h for h in self if not h.has_expired and now_ms - h.restated_at_ms >= RESTATED_MS]

    def forget_late(self, now_ms: int) -> Sequence[Hold]:
        """Drop the holds that nobody can settle any more."""
        late = [h for h in self if h.has_expired and now_ms - h.expires_at_ms >= SETTLEABLE_MS]
        for hold in late:
            self.drop(hold)
        return late


def _counted_for(hold: Hold) -> Iterator[tuple[str, FeatureKey]]:
    yield hold.customer, (hold.resource, hold.feature)
    for ancestor in hold.ancestors:
        yield ancestor, ("", hold.feature)
