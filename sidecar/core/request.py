"""What an application asks, as plain values: checked, and nothing of protobuf left."""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

from weighbridge.rules.credits import Tariff

DIGEST_SIZE = 16
REPORT_LATE_MS_MAX = 35 * 24 * 3_600_000
"""How far back reported usage may lie: 35 days."""
REPORT_AHEAD_MS_MAX = 5 * 60_000
"""How far ahead of the control plane's clock reported usage may lie: 5 minutes."""


class Kind(IntEnum):
    """What is asked."""

    # Equal to its number, so hashed like it; Enum's own hash is a Python call, and this is hot.
    __hash__ = int.__hash__

    CHECK = 0
    CONSUME = 1
    REPORT = 2
    RESERVE = 3
    EXTEND = 4
    SETTLE = 5
    RELEASE = 6


class KeyScope(IntEnum):
    """How far an idempotency key reaches."""

    SIDECAR = 1
    FLEET = 2


class Request(NamedTuple):
    """One question or one report. `amount` None: not given. `occurred_at_ms` None: now.

    `held_before`: units of the hold that is to grow by the amount. `is_priced`: it costs `tariff`,
    as was admitted before.
    """

    kind: Kind
    customer: str
    resource: str
    feature: str
    amount: int | None = None
    value: str = ""
    key: str = ""
    scope: KeyScope = KeyScope.SIDECAR
    dimensions: tuple[tuple[str, str], ...] = ()
    occurred_at_ms: int | None = None
    held_before: int = 0
    tariff: Tariff | None = None
    is_priced: bool = False

    @property
    def units(self) -> int:
        """The amount to meter: 1 where none was given."""
        return 1 if self.amount is None else self.amount

    @property
    def is_admitted(self) -> bool:
        """Whether limits admit it: units are asked for, and not only reported or given back."""
        return self.kind is not Kind.REPORT and self.units > 0

    def payload_digest(self) -> bytes:
        """Digest of all that a retry with the same idempotency key must repeat."""
        parts = (
            str(int(self.kind)),
            self.customer,
            self.resource,
            self.feature,
            str(self.units),
            str(int(self.scope)),
            "" if self.occurred_at_ms is None else str(self.occurred_at_ms),
            *(text for pair in self.dimensions for text in pair),
        )
        # Lengths in front keep two different payloads from reading the same.
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return blake2b(text.encode(), digest_size=DIGEST_SIZE).digest()


class HoldRequest(NamedTuple):
    """What is to become of a hold, or a hold to be made: `wanted` is what that asks for.

    `amount` and `ttl_ms` None: not given.
    """

    kind: Kind
    customer: str
    reservation: str
    amount: int | None = None
    ttl_ms: int | None = None
    wanted: Request | None = None

    @property
    def key(self) -> str:
        """The idempotency key: no key of an application begins like it."""
        return f"\0{self.kind.name}\0{self.reservation}"

    def payload_digest(self) -> bytes:
        """Digest of all that a retry must repeat."""
        wanted = b"" if self.wanted is None else self.wanted.payload_digest()
        text = f"{int(self.kind)}:{self.amount}:{self.ttl_ms}:{self.customer}:{self.reservation}"
        return blake2b(wanted + text.encode(), digest_size=DIGEST_SIZE).digest()


class CreditCharge(NamedTuple):
    """What usage costs in credits."""

    tariff: Tariff
    micro: int


class UsageEntry(NamedTuple):
    """Usage to carry upstream: one call, or several that nothing tells apart, summed.

    `spent` is what it was admitted at, in micros of each spend feature.
    """

    customer: str
    resource: str
    feature: str
    amount: int
    occurred_at_ms: int
    kind: Kind
    calls: int
    key: str
    scope: KeyScope
    payload_digest: bytes
    dimensions: tuple[tuple[str, str], ...]
    catalog_version: int
    snapshot_version: int
    spent: tuple[tuple[str, int], ...] = ()
    credit: CreditCharge | None = None
