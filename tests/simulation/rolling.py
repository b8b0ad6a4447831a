"""A rolling limit in the world: what was admitted in any span of its length, by the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FEATURE: Final = "turns"
LIMIT: Final = 20
LENGTH_MS: Final = 60_000
LEFT_MS: Final = LENGTH_MS + LENGTH_MS // 60
"""By then whatever was spent has left the window."""


@dataclass
class Admitted:
    """Units that leases admitted at an instant; fewer, where they were held and not needed."""

    at_ms: int
    units: int


class RollingTally:
    """Everything admitted of the rolling limit, by whose limit it is."""

    def __init__(self) -> None:
        self._admitted: defaultdict[str, list[Admitted]] = defaultdict(list)

    def admit(self, owners: Iterable[str], at_ms: int, units: int) -> tuple[Admitted, str]:
        """Count units, and say what is wrong with that, if anything is."""
        made = Admitted(at_ms, units)
        for owner in owners:
            admitted = self._admitted[owner]
            admitted.append(made)
            for each in admitted:
                # Every span that begins with a use, for clocks of sidecars are not the same.
                ends_ms = each.at_ms + LENGTH_MS
                within = sum(a.units for a in admitted if each.at_ms <= a.at_ms < ends_ms)
                if within > LIMIT:
                    return made, f"{within} of {owner} within {LENGTH_MS} ms from {each.at_ms}"
        return made, ""

    def forget(self) -> None:
        """Compare no instants of before a clock stepped with later ones."""
        self._admitted.clear()


def keep(held: list[Admitted], units: int) -> None:
    """Have so many units of a hold be used, and the others be anybody's again."""
    surplus = sum(each.units for each in held) - units
    for each in held:
        freed = max(min(each.units, surplus), 0)
        each.units -= freed
        surplus -= freed
