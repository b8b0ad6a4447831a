"""What sidecars ask for and what becomes of it, as values; and the work of one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from control_plane.leasing.accounts import EpochId, Gain
from control_plane.leasing.holding import HolderClaim, Returned
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.ledger import Grant
from weighbridge.rules.rate_share import RateKey, RateShare


class Want(NamedTuple):
    """Units wanted of a pool: at least `units_min` for calls that wait, `units` if it has them.

    `limit` is the one in the snapshot that the sidecar has applied; a lower one now counts instead.
    """

    pool: PoolKey
    units_min: int
    units: int
    limit: int


class LeaseRequest(NamedTuple):
    """What a sidecar gives back, and what it wants.

    All wants get their minimum, or none gets anything. `number` 0 wants no answer.
    """

    number: int
    returned: tuple[Returned, ...]
    wants: tuple[Want, ...]


class LeaseNow(NamedTuple):
    """A lease as it is now: all units ever granted, and the limit that was so under."""

    id: int
    pool: PoolKey
    granted: int
    limit: int
    # Of credits: the grant that it is of.
    tranche: Grant | None = None


class Refusal(NamedTuple):
    """A pool that has too little. `unreachable` units are with sidecars that do not answer.

    Enough units have left a rolling window after `returns_in_ms`; None: that is not known.
    """

    pool: PoolKey
    available: int
    unreachable: int
    lapses_in_ms: int
    limit: int
    returns_in_ms: int | None = None


class LeaseAnswer(NamedTuple):
    """Leases as they are now, or why there are none. `number` 0 answers no request."""

    number: int
    leases: tuple[LeaseNow, ...]
    refusals: tuple[Refusal, ...] = ()


class LeaseRecall(NamedTuple):
    """Asks for unspent units back: others wait for them."""

    leases: tuple[int, ...]


class LeaseLift(NamedTuple):
    """Refusals that no longer hold."""

    pools: tuple[PoolKey, ...]


class TermsRenewed(NamedTuple):
    """The terms of the epoch's leases were extended on a sign of life with this number."""

    number: int


class ShareTold(NamedTuple):
    """A sidecar's share of a rate from now on, and what it brings for its bucket."""

    key: RateKey
    serial: int
    share: RateShare
    added: int
    retry_in_ms: int


class RateSharesTold(NamedTuple):
    """What a sidecar has of rates."""

    shares: tuple[ShareTold, ...]


LeaseMessage = LeaseAnswer | LeaseRecall | LeaseLift | TermsRenewed


class Asking(NamedTuple):
    """What one epoch wants. In the order of these, units are given out."""

    epoch: EpochId
    wants: tuple[Want, ...]


@dataclass(slots=True)
class LeaseWork:
    """Everything that waited, for one transaction."""

    claims: list[HolderClaim] = field(default_factory=list)
    renewed: set[EpochId] = field(default_factory=set)
    returns: list[tuple[EpochId, tuple[Returned, ...]]] = field(default_factory=list)
    askings: list[Asking] = field(default_factory=list)
    is_tick: bool = False
    # Balances of which somebody was refused: looked at with each tick, since many things fill them.
    refused: tuple[PoolKey, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.claims or self.renewed or self.returns or self.askings or self.is_tick)


class Elsewhere(NamedTuple):
    """Units of a pool that an epoch holds."""

    lease: int
    epoch: EpochId
    units: int


class Shortage(NamedTuple):
    """A pool that had too little for a request; `available` under the limit that it named.

    Of a rolling window the next units leave at `leaves_ms`, as many as it lacks by `returns_ms`.
    """

    pool: PoolKey
    available: int
    limit: int
    window_end_ms: int | None
    held: tuple[Elsewhere, ...] = ()
    is_leased: bool = True
    leaves_ms: int | None = None
    returns_ms: int | None = None


class Granted(NamedTuple):
    """All minimums were met."""

    leases: tuple[LeaseNow, ...]


class Short(NamedTuple):
    """Nothing was given."""

    shortages: tuple[Shortage, ...]


@dataclass(slots=True)
class LeasesPosted:
    """What became of it. `answers` are in the order of the askings.

    `holders` are those of the epochs named that have leases. `may_have_more`: another tick has more
    to do. `customers_created` came by the default plan.
    """

    now_ms: int
    answers: list[Granted | Short] = field(default_factory=list)
    holders: set[EpochId] = field(default_factory=set)
    gains: list[Gain] = field(default_factory=list)
    units_granted: int = 0
    may_have_more: bool = False
    customers_created: list[str] = field(default_factory=list)
