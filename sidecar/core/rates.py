"""The buckets of rates: what was taken from each, by customer, resource and feature.

They are this sidecar's own: each sidecar lets a customer have the whole rate, and a restart fills
them. A bucket that nothing was taken from is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.core.book import FeatureKey
from weighbridge.rules.rate import Rate, RateState, full, refilled, rescaled

BucketKey = tuple[str, str, str]
"""Resource, feature and the rate's id."""


class Bucket:
    """A rate's level (see `weighbridge.rules.rate`) at an instant of CLOCK_BOOTTIME."""

    __slots__ = ("at_ms", "level", "rate")

    def __init__(self, rate: Rate, at_ms: int) -> None:
        self.rate = rate
        self.level = rate.level_max
        self.at_ms = at_ms

    def level_at(self, rate: Rate, at_ms: int) -> int:
        """Return the level then, under a rate that may have been changed since."""
        level = refilled(self.rate, self.level, at_ms - self.at_ms)
        return level if rate == self.rate else rescaled(self.rate, rate, level)

    def move(self, rate: Rate, at_ms: int) -> None:
        """Bring the bucket to that instant and rate."""
        self.level = self.level_at(rate, at_ms)
        self.rate = rate
        self.at_ms = max(self.at_ms, at_ms)


class Taken(NamedTuple):
    """What was taken from one bucket, in its level's unit at that time."""

    bucket: Bucket
    level: int
    period_ms: int


class Used(NamedTuple):
    """An amount, when it is counted, and how long before that it was used."""

    amount: int
    boot_ms: int
    age_ms: int = 0


class RateBuckets:
    """All buckets that something was taken from, until their customer is forgotten."""

    def __init__(self) -> None:
        self._customers: dict[str, dict[BucketKey, Bucket]] = {}

    def states(
        self, customer: str, key: FeatureKey, rates: Sequence[Rate], boot_ms: int
    ) -> list[RateState]:
        """Return the state of every rate now. Changes nothing."""
        buckets = self._customers.get(customer)
        if buckets is None:
            return [full(rate) for rate in rates]
        states = []
        for rate in rates:
            bucket = buckets.get((*key, rate.id))
            states.append(
                full(rate) if bucket is None else RateState(rate, bucket.level_at(rate, boot_ms))
            )
        return states

    def take(
        self, customer: str, key: FeatureKey, rates: Sequence[Rate], used: Used
    ) -> tuple[Taken, ...]:
        """Take an amount, or what is there of it; say what to give back if it was not used."""
        buckets = self._customers.setdefault(customer, {})
        taken = []
        for rate in rates:
            bucket = buckets.get((*key, rate.id))
            if bucket is None:
                bucket = buckets[(*key, rate.id)] = Bucket(rate, used.boot_ms)
            bucket.move(rate, used.boot_ms)
            # What was used a while ago came back in part since then.
            wanted = max(used.amount * rate.period_ms - used.age_ms * rate.limit, 0)
            level = min(wanted, bucket.level)
            bucket.level -= level
            taken.append(Taken(bucket, level, rate.period_ms))
        return tuple(taken)

    def give_back(self, taken: Sequence[Taken]) -> None:
        """Undo a `take`."""
        for bucket, level, period_ms in taken:
            returned = level * bucket.rate.period_ms // period_ms
            bucket.level = min(bucket.level + returned, bucket.rate.level_max)

    def forget(self, customer: str) -> None:
        """Drop a customer's buckets."""
        self._customers.pop(customer, None)
