"""Unit prices that depend on how much it is: one price, graduated and volume tables, packages.

Units are numbered from 1. A tier holds the units above the bound of the tier before, up to and
including its own; the last tier has no bound. Tables and packages answer for the units
`before + 1 .. before + units`, so that a period can be rated in parts (see `docs/rating.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final, NamedTuple

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import exact, require_count, require_price
from weighbridge.rules.units import COUNTER_MAX

TIERS_MAX: Final = 100
PER_MAX: Final = 10**12


class Segment(NamedTuple):
    """A part of a charge: `units` at `unit` each `per` units, and `flat` once.

    Of a package, `units` are packages. `up_to` is the bound of the tier; None is open.
    """

    units: int
    unit: Decimal
    flat: Decimal
    up_to: int | None = None

    def amount(self, per: int) -> Decimal:
        """Return `per` times what it costs, which keeps it exact whatever `per` is."""
        with exact():
            return self.units * self.unit + self.flat * per


NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class UnitRate:
    """Every unit costs the same: `amount` for each `per` units, and a part of it for fewer."""

    amount: Decimal
    per: int = 1

    def __post_init__(self) -> None:
        require_price("per_unit", self.amount)
        require_count("per", self.per, 1, PER_MAX)

    def segments(self, before: int, units: int) -> tuple[Segment, ...]:
        """Return what the units after the first `before` cost."""
        _require_units(before, units)
        return (Segment(units, self.amount, NOTHING),)


@dataclass(frozen=True, slots=True)
class Package:
    """Each started package of `size` units costs `amount`."""

    amount: Decimal
    size: int

    def __post_init__(self) -> None:
        require_price("package", self.amount)
        require_count("size", self.size, 1, PER_MAX)

    @property
    def per(self) -> int:
        """A package is not divided."""
        return 1

    def segments(self, before: int, units: int) -> tuple[Segment, ...]:
        """Return what the units after the first `before` cost: the packages that they start."""
        _require_units(before, units)
        started = self._packages(before + units) - self._packages(before)
        return (Segment(started, self.amount, NOTHING),)

    def _packages(self, units: int) -> int:
        return -(-units // self.size)


@dataclass(frozen=True, slots=True)
class Tier:
    """Units up to and including `up_to` (None: all the rest), at `unit` each, and `flat` once."""

    up_to: int | None
    unit: Decimal = NOTHING
    flat: Decimal = NOTHING

    def __post_init__(self) -> None:
        if self.up_to is not None:
            require_count("up_to", self.up_to, 1, COUNTER_MAX)
        require_price("unit", self.unit)
        require_price("flat", self.flat)


class TierMode(Enum):
    """Which price a unit has: that of the tier it lies in, or that of the tier they all end in."""

    GRADUATED = "graduated"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class TierTable:
    """Prices by tier, `unit` prices for each `per` units.

    Graduated: each unit costs what its own tier says, and a tier's `flat` is due as soon as a unit
    lies in it. Volume: all units cost what the tier of the last one says, its `flat` once.
    """

    mode: TierMode
    tiers: tuple[Tier, ...]
    per: int = 1

    def __post_init__(self) -> None:
        require_count("per", self.per, 1, PER_MAX)
        for position, problem in tier_problems([tier.up_to for tier in self.tiers]):
            raise InvalidArgumentError(f"{self.mode.value}[{position}].up_to", problem)

    def segments(self, before: int, units: int) -> tuple[Segment, ...]:
        """Return what the units after the first `before` cost."""
        _require_units(before, units)
        if self.mode is TierMode.VOLUME:
            return self._volume(before, units)
        return tuple(self._graduated(before, units))

    def _graduated(self, before: int, units: int) -> Iterator[Segment]:
        above = 0
        last = before + units
        for tier in self.tiers:
            bound = last if tier.up_to is None else min(tier.up_to, last)
            held = bound - max(above, before)
            if held > 0:
                # The first unit in a tier brings the flat part; what was before had it already.
                flat = tier.flat if before <= above else NOTHING
                yield Segment(held, tier.unit, flat, tier.up_to)
            above = bound

    def _volume(self, before: int, units: int) -> tuple[Segment, ...]:
        if units == 0:
            return ()
        tier = self._tier_of(before + units)
        had_flat = before > 0 and self._tier_of(before) is tier
        return (Segment(units, tier.unit, NOTHING if had_flat else tier.flat, tier.up_to),)

    def _tier_of(self, unit: int) -> Tier:
        return next(t for t in self.tiers if t.up_to is None or unit <= t.up_to)


Rate = UnitRate | Package | TierTable
"""What some number of units costs."""


def total(segments: Iterable[Segment], per: int) -> Decimal:
    """Return `per` times what the segments cost together."""
    with exact():
        return sum((segment.amount(per) for segment in segments), NOTHING)


def tier_problems(bounds: Sequence[int | None]) -> Iterator[tuple[int, str]]:
    """Find, by position, what keeps bounds from covering every number of units once."""
    if not bounds:
        yield 0, "a table has at least one tier"
    if len(bounds) > TIERS_MAX:
        yield TIERS_MAX, f"is one tier too many; at most {TIERS_MAX}"
    reached = 0
    for position, bound in enumerate(bounds):
        is_last = position == len(bounds) - 1
        if bound is None and not is_last:
            yield position, "is missing: only the last tier is open"
        elif bound is not None and is_last:
            yield position, "closes the last tier; leave it out, so that any usage has a price"
        elif bound is not None and bound <= reached:
            yield position, f"{bound} is not above {reached}, where the tier before ends"
        reached = reached if bound is None else max(reached, bound)


def _require_units(before: int, units: int) -> None:
    require_count("carried", before, 0, COUNTER_MAX)
    require_count("quantity", units, 0, COUNTER_MAX)
