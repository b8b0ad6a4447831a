"""What a caller asks for, before it is completed from the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from weighbridge.rules.catalog import LimitKind
from weighbridge.rules.rate import Rate
from weighbridge.rules.window import Window


@dataclass(frozen=True, slots=True)
class WantedLimit:
    """A limit. Kind and window that are None are taken from the customer's plan."""

    id: str
    limit: int | None
    kind: LimitKind | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class WantedEntitlement:
    """What one feature is to grant a customer or resource."""

    feature: str
    enabled: bool = True
    number: int | None = None
    values: tuple[str, ...] = ()
    limits: tuple[WantedLimit, ...] = ()
    rates: tuple[Rate, ...] = ()
