"""The buckets of rates: what was taken from each, by customer, resource and feature.

Those of rates that each sidecar has whole are kept here: a restart fills them, and a bucket that
nothing was taken from is not kept. Those of the fleet's rates are in `rate_shares`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.core.book import FeatureKey
from sidecar.core.rate_shares import RateLack, RateShares, SharedBucket
from weighbridge.rules.rate import Rate, RateState, full, refilled, rescaled
from weighbridge.rules.rate_share import RateKey

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

    def put_back(self, level: int, period_ms: int) -> None:
        """Undo a take."""
        returned = level * self.rate.period_ms // period_ms
        self.level = min(self.level + returned, self.rate.level_max)


class Taken(NamedTuple):
    """What was taken from one bucket, in its level's unit at that time."""

    bucket: Bucket | SharedBucket
    level: int
    period_ms: int


class Used(NamedTuple):
    """An amount, when it is counted, and how long before that it was used."""

    amount: int
    boot_ms: int
    age_ms: int = 0


class RateBuckets:
    """All buckets that something was taken from, until their customer is forgotten.

    Without `shares`, every rate counts as this sidecar's own.
    """

    def __init__(self, shares: RateShares | None = None) -> None:
        self._customers: dict[str, dict[BucketKey, Bucket]] = {}
        self._shares = shares

    def states(
        self, customer: str, key: FeatureKey, rates: Sequence[Rate], boot_ms: int
    ) -> list[RateState]:
        """Return the state of every rate now. Takes nothing."""
        buckets, shares = self._customers.get(customer), self._shares
        states = []
        for rate in rates:
            if shares is not None and rate.is_shared:
                states.append(shares.state(customer, key, rate, boot_ms))
                continue
            bucket = None if buckets is None else buckets.get((*key, rate.id))
            states.append(
                full(rate) if bucket is None else RateState(rate, bucket.level_at(rate, boot_ms))
            )
        return states

    def lacks(
        self, customer: str, key: FeatureKey, rates: Sequence[Rate], wanted: Used
    ) -> list[RateLack]:
        """Return the rates of which a share has to be had first."""
        shares = self._shares
        if shares is None:
            return []
        return [
            RateLack(RateKey(customer, *key, rate.id), rate, min(wanted.amount, rate.burst))
            for rate in rates
            if rate.is_shared and not shares.state(customer, key, rate, wanted.boot_ms).is_held
        ]

    def note_refused(
        self, customer: str, key: FeatureKey, rates: Sequence[Rate], asked: Used
    ) -> None:
        """Note what was asked for in vain: a share is as large as what is asked of it."""
        if self._shares is None:
            return
        for rate in rates:
            if rate.is_shared:
                rate_key = RateKey(customer, *key, rate.id)
                self._shares.note_refused(rate_key, asked.amount, asked.boot_ms)

    def take(
        self, customer: str, key: FeatureKey, rates: Sequence[Rate], used: Used
    ) -> tuple[Taken, ...]:
        """Take an amount, or what is there of it; say what to give back if it was not used."""
        return tuple(
            self._take_shared(self._shares, RateKey(customer, *key, rate.id), rate, used)
            if self._shares is not None and rate.is_shared
            else self._take(customer, key, rate, used)
            for rate in rates
        )

    def give_back(self, taken: Sequence[Taken]) -> None:
        """Undo a `take`."""
        for bucket, level, period_ms in taken:
            bucket.put_back(level, period_ms)

    def forget(self, customer: str) -> None:
        """Drop a customer's own buckets."""
        self._customers.pop(customer, None)

    def _take(self, customer: str, key: FeatureKey, rate: Rate, used: Used) -> Taken:
        buckets = self._customers.setdefault(customer, {})
        bucket = buckets.get((*key, rate.id))
        if bucket is None:
            bucket = buckets[(*key, rate.id)] = Bucket(rate, used.boot_ms)
        bucket.move(rate, used.boot_ms)
        # What was used a while ago came back in part since then.
        wanted = max(used.amount * rate.period_ms - used.age_ms * rate.limit, 0)
        level = min(wanted, bucket.level)
        bucket.level -= level
        return Taken(bucket, level, rate.period_ms)

    @staticmethod
    def _take_shared(shares: RateShares, key: RateKey, rate: Rate, used: Used) -> Taken:
        bucket, level = shares.take(key, rate, (used.amount, used.boot_ms, used.age_ms))
        return Taken(bucket, level, rate.period_ms)
