"""What the client answers: plain values, no protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum

from weighbridge.rules.catalog import FeatureType, LimitKind
from weighbridge.rules.decision import Reason
from weighbridge.rules.rate import RatePeriod, RateScope
from weighbridge.rules.window import Period, WindowKind


class DecidedBy(Enum):
    """What an answer rests on."""

    LEASE = "lease"
    CACHE = "cache"
    CONTROL_PLANE = "control_plane"
    OUTAGE_POLICY = "outage_policy"
    CLIENT_FALLBACK = "client_fallback"
    """The sidecar did not answer; `when_unreachable` decided. Nothing is known to be recorded."""


class IdempotencyScope(Enum):
    """How far an idempotency key reaches."""

    SIDECAR = "sidecar"
    """Known to this sidecar, across its restarts, for at least 15 minutes."""
    FLEET = "fleet"
    """Known to the control plane too, for 24 hours: for retries that may reach another sidecar."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question of a batch. See `Client.check` for what the fields mean."""

    customer: str
    feature: str
    amount: int | None = None
    resource: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class UpgradeHint:
    """A plan or add-on (one of the two) under which the refused call would have been allowed."""

    plan: str | None
    add_on: str | None
    name: str
    message: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendUsage:
    """A spend limit, of the spend feature named, in its window; in the currency itself."""

    feature: str
    currency: str
    limit: Decimal
    used: Decimal
    remaining: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of one question about one feature; true exactly where it is allowed.

    None means "not applicable" or "unknown"; for `limit` and `remaining` it means unlimited.
    Amounts are in the feature's unit. `observed_reason` is why a call would have been refused that
    passes only because its feature is observed. `limited_by` names the ancestor of the customer
    whose limit, plan or status the answer tells; None: it is the customer's own. `spend` is the
    limit of money that refused; `limit`, `used` and `remaining` are None then. A refusal whose
    `reason` is None has a reason that this version of the client does not know yet.
    """

    allowed: bool
    reason: Reason | None = None
    feature: str = ""
    limit_id: str | None = None
    limit: int | None = None
    used: int | None = None
    remaining: int | None = None
    reserved: int = 0
    included_amount: int = 0
    overage_amount: int = 0
    window_start: datetime | None = None
    window_end: datetime | None = None
    resets_in: timedelta | None = None
    retry_after: timedelta | None = None
    upgrade_hints: tuple[UpgradeHint, ...] = ()
    snapshot_age: timedelta | None = None
    decided_by: DecidedBy | None = None
    max_overshoot: int | None = None
    allowed_amount: int | None = None
    values: tuple[str, ...] = ()
    catalog_version: int = 0
    snapshot_version: int = 0
    observed_reason: Reason | None = None
    limited_by: str | None = None
    spend: SpendUsage | None = None

    # Without it `if await client.check(...)` would let every refusal pass.
    def __bool__(self) -> bool:
        return self.allowed

    @property
    def is_fallback(self) -> bool:
        """Whether `when_unreachable` answered in place of the sidecar."""
        return self.decided_by is DecidedBy.CLIENT_FALLBACK


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where usage was recorded, and as what.

    `is_replayed`: this is the answer that an earlier call with the same key got.
    """

    epoch: str
    record_number: int
    amount: int
    included_amount: int
    overage_amount: int
    is_replayed: bool


@dataclass(frozen=True, slots=True)
class Consumption:
    """The answer to `consume`; true exactly where it is allowed.

    `receipt` is None where nothing is known to be recorded: refused, or answered by a fallback.
    """

    decision: Decision
    receipt: Receipt | None

    def __bool__(self) -> bool:
        return self.decision.allowed


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units held at the sidecar until `expires_at`, under an id of the application's."""

    id: str
    amount: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Reserved:
    """The answer to `reserve` and `extend`; true exactly where it is allowed.

    `reservation` is the hold as it is now; None where nothing is known to be held: refused, or
    answered by a fallback. `is_replayed` as in a receipt.
    """

    decision: Decision
    reservation: Reservation | None
    is_replayed: bool = False

    def __bool__(self) -> bool:
        return self.decision.allowed


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a reservation was settled with.

    `had_expired`: it held nothing any more. `excess_amount` was charged beyond what it held, and
    `uncharged_amount` used beyond what the feature's excess policy takes. Of a meter,
    `charged_before_amount` was charged when its hold expired, besides what the receipt says.
    """

    receipt: Receipt
    had_expired: bool = False
    excess_amount: int = 0
    uncharged_amount: int = 0
    charged_before_amount: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """What a released reservation had held; 0 where it had expired."""

    amount: int
    had_expired: bool
    is_replayed: bool


class MeterSignal(Enum):
    """Whether metered work may go on."""

    CONTINUE = "continue"
    WARN = "warn"
    STOP = "stop"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterAnswer:
    """The answer to one message of a meter; true exactly where the work may go on.

    `held` units may be used in all before more is told. `remaining` None: no limit, or not known.
    `threshold_percent` comes with WARN, `decision` with STOP and with the first answer.
    """

    signal: MeterSignal | None
    used: int
    held: int
    remaining: int | None = None
    threshold_percent: int | None = None
    decision: Decision | None = None

    def __bool__(self) -> bool:
        return self.signal in (MeterSignal.CONTINUE, MeterSignal.WARN)


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """The state of one limit. None: unlimited; an enum this client does not know; never ends.

    `length` is that of a rolling window or session; without instants, nothing is used of it.
    `limited_by` names the ancestor whose limit it is; None: the customer's own. Of what is used,
    `reserved` units are only held, by reservations at this sidecar.
    """

    id: str
    kind: LimitKind | None
    limit: int | None
    used: int
    remaining: int | None
    window: WindowKind | None
    period: Period | None
    time_zone: str
    window_start: datetime | None
    window_end: datetime | None
    length: timedelta | None = None
    limited_by: str | None = None
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class RateUsage:
    """The state of one rate at the sidecar. `per` None: a period this client does not know.

    `limited_by` names the ancestor whose rate it is; None: the customer's own. `scope` says whether
    each sidecar has it or all together; None: this client does not know.
    """

    id: str
    limit: int
    per: RatePeriod | None
    burst: int
    remaining: int
    limited_by: str | None = None
    scope: RateScope | None = None


@dataclass(frozen=True, slots=True)
class FeatureEntitlement:
    """What a customer has on one feature, and what is used of it.

    `number` belongs to number features, `values` to enum features, `limits` and `rates` to metered
    ones. `credit_type` is that of the credits that pay for usage; "" where none do.
    """

    feature: str
    type: FeatureType | None
    unit: str
    enabled: bool
    number: int | None
    values: tuple[str, ...]
    limits: tuple[LimitUsage, ...]
    rates: tuple[RateUsage, ...] = ()
    credit_type: str = ""


@dataclass(frozen=True, slots=True)
class Entitlements:
    """Everything a customer, or one resource of it, is entitled to.

    `reason` says why there is nothing; it is None where `features` hold. `limited_by` names the
    ancestor that is the reason, `inherited_from` the one whose plan it is; None: the customer.
    """

    customer: str
    resource: str
    reason: Reason | None
    catalog: str
    catalog_version: int
    plan: str
    plan_version: int
    snapshot_version: int
    snapshot_age: timedelta | None
    features: Mapping[str, FeatureEntitlement]
    inherited_from: str | None = None
    limited_by: str | None = None
