"""Usage records as sidecars send them, and what is wrong with those that cannot be applied."""

from __future__ import annotations

import json
from enum import Enum
from typing import Final, NamedTuple

from control_plane.crediting import LedgerId
from control_plane.leasing.holds import HoldStep
from control_plane.leasing.settling import Draw
from weighbridge.rules import units
from weighbridge.rules.errors import InvalidArgumentError

ENTRIES_PER_RECORD_MAX: Final = 10_000
DRAWS_PER_RECORD_MAX: Final = 10_000
HOLDS_PER_RECORD_MAX: Final = 10_000
CALLS_MAX: Final = 10**9
SPENT_MAX: Final = 1_000
DIGEST_SIZE_MAX: Final = 64
OCCURRED_AT_MS_MAX: Final = 4_102_444_800_000
"""The year 2100: an instant that calendars can still be asked about."""


class UsageKind(Enum):
    """How usage came to be recorded. SPEND is what usage cost, and no sidecar records that."""

    CONSUME = "consume"
    REPORT = "report"
    SETTLE = "settle"
    SPEND = "spend"


class KeyScope(Enum):
    """How far an idempotency key reaches."""

    SIDECAR = "sidecar"
    FLEET = "fleet"


class SetAsideReason(Enum):
    """Why usage was kept for a person to look at, and not applied."""

    DIGEST_CONFLICT = "digest_conflict"
    INVALID_RECORD = "invalid_record"
    CUSTOMER_UNKNOWN = "customer_unknown"
    RESOURCE_UNKNOWN = "resource_unknown"
    FEATURE_UNKNOWN = "feature_unknown"
    FEATURE_NOT_METERED = "feature_not_metered"
    NOT_RELEASABLE = "not_releasable"
    IN_THE_FUTURE = "in_the_future"
    KEY_CONFLICT = "key_conflict"
    OVERFLOW = "overflow"


class EpochKey(NamedTuple):
    """One start of one sidecar."""

    sidecar_id: str
    epoch: str


class RecordMark(NamedTuple):
    """A place in the records of one epoch: every record up to and including the number."""

    sidecar_id: str
    epoch: str
    number: int


class CreditCharge(NamedTuple):
    """What usage costs in credits, as it was admitted, and which ledger pays."""

    ledger: LedgerId
    micro: int


class UsageEntry(NamedTuple):
    """Usage of one feature. `kind` and `key_scope` are None where the wire had no known value."""

    customer: str
    resource: str
    feature: str
    amount: int
    occurred_at_ms: int
    kind: UsageKind | None
    calls: int = 1
    key: str = ""
    key_scope: KeyScope | None = KeyScope.SIDECAR
    payload_digest: bytes = b""
    dimensions: tuple[tuple[str, str], ...] = ()
    catalog_version: int = 0
    snapshot_version: int = 0
    # What it was admitted at, in micros of each spend feature.
    spent: tuple[tuple[str, int], ...] = ()
    # None where it costs none, or the sidecar had no snapshot to know.
    credit: CreditCharge | None = None


class UsageRecord(NamedTuple):
    """One journal record of a sidecar. `digest` is over entries and draws as first written."""

    sidecar_id: str
    epoch: str
    number: int
    digest: bytes
    entries: tuple[UsageEntry, ...]
    draws: tuple[Draw, ...] = ()
    holds: tuple[HoldStep, ...] = ()

    @property
    def epoch_key(self) -> EpochKey:
        return EpochKey(self.sidecar_id, self.epoch)

    @property
    def mark(self) -> RecordMark:
        return RecordMark(self.sidecar_id, self.epoch, self.number)


class SetAside(NamedTuple):
    """Something that was not applied, to be told to the sidecar that sent it."""

    mark: RecordMark
    reason: SetAsideReason
    detail: str


def require_placeable(field: str, record: UsageRecord) -> None:
    """Raise InvalidArgumentError where a record does not say which one it is."""
    units.require_id(f"{field}.sidecar_id", record.sidecar_id)
    units.require_id(f"{field}.epoch", record.epoch)
    if not 1 <= record.number <= units.COUNTER_MAX:
        raise InvalidArgumentError(f"{field}.number", f"{record.number}; records count from 1")
    if not 1 <= len(record.digest) <= DIGEST_SIZE_MAX:
        problem = f"has {len(record.digest)} bytes; a digest has 1 to {DIGEST_SIZE_MAX}"
        raise InvalidArgumentError(f"{field}.digest", problem)


def problem_of(record: UsageRecord) -> str | None:
    """Return what makes the content of a record unusable, or None."""
    if len(record.entries) > ENTRIES_PER_RECORD_MAX:
        return f"entries: {len(record.entries)} of them; at most {ENTRIES_PER_RECORD_MAX}"
    try:
        for index, entry in enumerate(record.entries):
            _require_valid(index, entry)
        if record.draws:
            _require_valid_draws(record.draws)
        if record.holds:
            _require_valid_holds(record.holds)
    except InvalidArgumentError as error:
        return str(error)
    return None


def _require_valid_draws(draws: tuple[Draw, ...]) -> None:
    if len(draws) > DRAWS_PER_RECORD_MAX:
        raise InvalidArgumentError("draws", f"{len(draws)}; at most {DRAWS_PER_RECORD_MAX}")
    for index, draw in enumerate(draws):
        if draw.lease <= 0:
            raise InvalidArgumentError(f"draws[{index}].lease", f"{draw.lease} is not a lease")
    if len({draw.lease for draw in draws}) < len(draws):
        raise InvalidArgumentError("draws", "names a lease twice; a record has one draw of each")


def _require_valid_holds(holds: tuple[HoldStep, ...]) -> None:
    if len(holds) > HOLDS_PER_RECORD_MAX:
        raise InvalidArgumentError("holds", f"{len(holds)}; at most {HOLDS_PER_RECORD_MAX}")
    for index, hold in enumerate(holds):
        field = f"holds[{index}]"
        units.require_id(f"{field}.customer", hold.key.customer)
        units.require_text(f"{field}.reservation", hold.key.reservation, units.KEY_LENGTH_MAX)
        for lease, held in hold.units:
            if lease <= 0 or held <= 0:
                raise InvalidArgumentError(f"{field}.held", f"{held} units of lease {lease}")
        if len(dict(hold.units)) < len(hold.units):
            raise InvalidArgumentError(f"{field}.held", "names a lease twice")


def _require_valid(index: int, entry: UsageEntry) -> None:
    is_id = units.is_id
    # The sound entry, which nearly all are, costs no formatting of field names.
    if (
        is_id(entry.customer)
        and is_id(entry.feature)
        and (not entry.resource or is_id(entry.resource))
        and 1 <= entry.calls <= CALLS_MAX
        and abs(entry.amount) <= entry.calls * units.AMOUNT_MAX
        and 0 <= entry.occurred_at_ms <= OCCURRED_AT_MS_MAX
        and entry.kind is not None
        and entry.catalog_version >= 0
        and entry.snapshot_version >= 0
    ):
        has_extras = entry.key or entry.dimensions or entry.spent or entry.credit
        if has_extras or entry.key_scope is None:
            _require_valid_extras(index, entry)
        return
    raise _first_problem(f"entries[{index}]", entry)


def _first_problem(field: str, entry: UsageEntry) -> InvalidArgumentError:
    amount_max = entry.calls * units.AMOUNT_MAX
    checks = (
        ("customer", units.is_id(entry.customer), f"is not an id; an id is {units.ID_RULE}"),
        ("feature", units.is_id(entry.feature), f"is not an id; an id is {units.ID_RULE}"),
        ("calls", 1 <= entry.calls <= CALLS_MAX, f"{entry.calls}; 1 to {CALLS_MAX}"),
        (
            "amount",
            abs(entry.amount) <= amount_max,
            f"{entry.amount}; {-amount_max} to {amount_max} here",
        ),
        (
            "occurred_at_unix_ms",
            0 <= entry.occurred_at_ms <= OCCURRED_AT_MS_MAX,
            f"{entry.occurred_at_ms}; 0 to {OCCURRED_AT_MS_MAX}",
        ),
        ("kind", entry.kind is not None, "is not a known value"),
        ("catalog_version", entry.catalog_version >= 0, f"{entry.catalog_version} is negative"),
        ("snapshot_version", entry.snapshot_version >= 0, f"{entry.snapshot_version} is negative"),
    )
    for name, is_sound, problem in checks:
        if not is_sound:
            return InvalidArgumentError(f"{field}.{name}", problem)
    return InvalidArgumentError(f"{field}.resource", f"is not an id; an id is {units.ID_RULE}")


def _require_valid_extras(index: int, entry: UsageEntry) -> None:
    field = f"entries[{index}]"
    units.require_text(f"{field}.idempotency_key", entry.key, units.KEY_LENGTH_MAX)
    if entry.key_scope is None:
        raise InvalidArgumentError(f"{field}.idempotency_scope", "is not a known value")
    if len(entry.payload_digest) > DIGEST_SIZE_MAX or (entry.key and not entry.payload_digest):
        problem = f"has {len(entry.payload_digest)} bytes; 1 to {DIGEST_SIZE_MAX} with a key"
        raise InvalidArgumentError(f"{field}.payload_digest", problem)
    if len(entry.dimensions) > units.DIMENSIONS_MAX:
        problem = f"has {len(entry.dimensions)} of them; at most {units.DIMENSIONS_MAX}"
        raise InvalidArgumentError(f"{field}.dimensions", problem)
    _require_valid_costs(field, entry)


def _require_valid_costs(field: str, entry: UsageEntry) -> None:
    for feature, micros in entry.spent:
        units.require_id(f"{field}.spent.feature", feature)
        if not 0 <= micros <= units.COUNTER_MAX:
            problem = f"{micros}; 0 to {units.COUNTER_MAX}"
            raise InvalidArgumentError(f"{field}.spent.micros", problem)
    if entry.credit is not None:
        units.require_id(f"{field}.credit.customer", entry.credit.ledger.customer)
        units.require_id(f"{field}.credit.credit_type", entry.credit.ledger.credit_type)
        if not 0 <= entry.credit.micro <= units.COUNTER_MAX:
            problem = f"{entry.credit.micro}; 0 to {units.COUNTER_MAX}"
            raise InvalidArgumentError(f"{field}.credit.micro", problem)
    if len(entry.spent) > SPENT_MAX:
        raise InvalidArgumentError(f"{field}.spent", f"{len(entry.spent)}; at most {SPENT_MAX}")
    for name, value in entry.dimensions:
        units.require_id(f"{field}.dimensions", name)
        units.require_text(f"{field}.dimensions[{name}]", value, units.DIMENSION_VALUE_LENGTH_MAX)


def record_payload(record: UsageRecord) -> bytes:
    """Return a whole record as JSON, for a person to read."""
    document = {
        "sidecar_id": record.sidecar_id,
        "epoch": record.epoch,
        "number": record.number,
        "digest": record.digest.hex(),
        "entries": [_entry_document(entry) for entry in record.entries],
        "draws": [draw._asdict() for draw in record.draws],
        "holds": [[hold.key.customer, hold.key.reservation, hold.units] for hold in record.holds],
    }
    return json.dumps(document).encode()


def entry_payload(entry: UsageEntry) -> bytes:
    """Return an entry as JSON, for a person to read."""
    return json.dumps(_entry_document(entry)).encode()


def _entry_document(entry: UsageEntry) -> dict[str, object]:
    return {
        **entry._asdict(),
        "kind": entry.kind.value if entry.kind else None,
        "key_scope": entry.key_scope.value if entry.key_scope else None,
        "payload_digest": entry.payload_digest.hex(),
        "dimensions": dict(entry.dimensions),
    }
