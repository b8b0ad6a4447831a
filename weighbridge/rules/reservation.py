"""Reservations: how much one may hold, and what becomes of usage beyond what was held."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ExcessKind(Enum):
    """What becomes of usage beyond what a reservation held."""

    REJECT = "reject"
    TAKE_AVAILABLE = "take_available"
    OVERDRAFT = "overdraft"


@dataclass(frozen=True, slots=True)
class ExcessPolicy:
    """The excess policy of a feature. `units_max` bounds OVERDRAFT; None: it has no bound."""

    kind: ExcessKind = ExcessKind.OVERDRAFT
    units_max: int | None = None

    def charged_max(self, held: int) -> int | None:
        """Return how many units a settlement may name beside a hold; None: any number."""
        match self.kind:
            case ExcessKind.REJECT:
                return held
            case ExcessKind.TAKE_AVAILABLE:
                return None
            case ExcessKind.OVERDRAFT:
                return None if self.units_max is None else held + self.units_max


OVERDRAFT = ExcessPolicy()


def share_of(limit: int, percent: int) -> int:
    """Return how many units of a limit one hold may take; a share of some is never nothing."""
    return max(limit * percent // 100, 1) if limit else 0
