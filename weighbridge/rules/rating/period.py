"""Billing periods, and the share of one that a fee is charged for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.window import Period

INSTANT_MS_MAX: Final = 10**15


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a period: `part_ms` out of `whole_ms`. Kept as two integers, so it is exact."""

    part_ms: int
    whole_ms: int

    def __post_init__(self) -> None:
        if not 0 <= self.part_ms <= self.whole_ms or self.whole_ms < 1:
            problem = f"{self.part_ms} ms is no part of {self.whole_ms} ms"
            raise InvalidArgumentError("share", problem)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.part_ms == self.whole_ms


WHOLE: Final = Share(1, 1)


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """What a charge is for: from `start_ms` until before `end_ms`, one `every`.

    Where only a part of it was subscribed to, that is from `from_ms` until before `until_ms`; fees
    are charged for that part.
    """

    start_ms: int
    end_ms: int
    every: Period = Period.MONTH
    from_ms: int | None = None
    until_ms: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_ms < self.end_ms <= INSTANT_MS_MAX:
            problem = f"from {self.start_ms} until {self.end_ms} ms is no span of time"
            raise InvalidArgumentError("period", problem)
        if not self.start_ms <= self.served_from_ms <= self.served_until_ms <= self.end_ms:
            served = f"from {self.served_from_ms} until {self.served_until_ms} ms"
            problem = f"{served} is no part of {self.start_ms} until {self.end_ms} ms"
            raise InvalidArgumentError("period", problem)

    @property
    def served_from_ms(self) -> int:
        """When the part that is charged for begins."""
        return self.start_ms if self.from_ms is None else self.from_ms

    @property
    def served_until_ms(self) -> int:
        """When the part that is charged for ends."""
        return self.end_ms if self.until_ms is None else self.until_ms

    @property
    def share(self) -> Share:
        """The part that is charged for; WHOLE where that is all of it."""
        share = Share(self.served_until_ms - self.served_from_ms, self.end_ms - self.start_ms)
        return WHOLE if share.is_whole else share
