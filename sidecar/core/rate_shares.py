"""Shares of rates: buckets whose refill and burst are this sidecar's part of a rate of the fleet.

What may be spent is what the control plane gave (docs/adr/0024), as long as leases may be spent. A
share whose time ran out is never taken up again, so that others can have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sidecar.core.book import FeatureKey
from weighbridge.rules.rate import Rate, RateState
from weighbridge.rules.rate_share import (
    NO_SHARE,
    NUMBER_MAX,
    UNIT_LEVEL,
    RateClaim,
    RateKey,
    RateShare,
    whole_share,
)

IDLE_MS: Final = 5_000
"""A share that nothing was taken from for this long is given back."""

ASK_AGAIN_MS: Final = 1_000
"""How long after it was asked a rate is asked for again, and its demand measured."""

ASKS_PER_REQUEST_MAX: Final = 500
NEVER_MS: Final = -(2**62)
FOREVER_MS: Final = 2**62


class SharedBucket:
    """A rate and this sidecar's share of it; `level` counts units times `UNIT_LEVEL`.

    Not `is_held`: share and level are the last ones, or those of the whole rate, and admit nothing
    while the control plane can be asked.
    """

    __slots__ = (
        "asked",
        "asked_ms",
        "at_ms",
        "is_asking",
        "is_held",
        "key",
        "lapses_ms",
        "level",
        "rate",
        "serial",
        "share",
        "since_ms",
        "told",
        "units_min",
        "until_ms",
        "used_ms",
    )

    def __init__(self, key: RateKey, rate: Rate, boot_ms: int) -> None:
        self.key = key
        self.rate = rate
        self.is_held = False
        self.serial = 0
        self.share = whole_share(rate)
        self.level = rate.burst * UNIT_LEVEL
        self.at_ms = boot_ms
        # Until when it may be spent, where the control plane has not confirmed it on this stream.
        self.until_ms = FOREVER_MS
        # Nothing passes before: the control plane has nothing to give.
        self.lapses_ms = NEVER_MS
        # Units asked for since then, and the parts per hour that were last told.
        self.asked = 0
        self.since_ms = boot_ms
        self.told: int | None = None
        # The most that one call asked for in vain.
        self.units_min = 1
        self.is_asking = False
        self.asked_ms = NEVER_MS
        self.used_ms = boot_ms

    def level_at(self, boot_ms: int) -> int:
        """Return the level then."""
        level = self.level + self.share.parts * max(boot_ms - self.at_ms, 0)
        return min(level, self.share.burst * UNIT_LEVEL)

    def move(self, boot_ms: int) -> None:
        """Bring the bucket to that instant."""
        self.level = self.level_at(boot_ms)
        self.at_ms = max(self.at_ms, boot_ms)

    def put_back(self, level: int, _period_ms: int) -> None:
        """Undo a take."""
        self.level = min(self.level + level, self.share.burst * UNIT_LEVEL)

    def demand(self, boot_ms: int) -> int | None:
        """Return how many parts per hour were asked for lately; None: it is too early to say."""
        span_ms = boot_ms - self.since_ms
        if span_ms >= ASK_AGAIN_MS:
            self.told = min(max(self.asked * UNIT_LEVEL // span_ms, 1), NUMBER_MAX)
            self.asked = 0
            self.since_ms = boot_ms
        return self.told

    def empty(self) -> None:
        """Have it be as if nothing was known of the rate."""
        self.is_held = False
        self.share = whole_share(self.rate)
        self.level = self.share.burst * UNIT_LEVEL


class RateLack(NamedTuple):
    """A rate of which a call needs a share."""

    key: RateKey
    rate: Rate
    units: int


class RateAck(NamedTuple):
    """What the control plane is told of a share, and the level that its bucket has too much.

    `has_ended`: it was given back.
    """

    key: RateKey
    serial: int
    returned: int
    has_ended: bool = False


class RateAsk(NamedTuple):
    """A share is wanted of a rate, or a larger one; `whole` is all of it. None: only told."""

    key: RateKey
    whole: RateShare | None
    claim: RateClaim


class RateRequest(NamedTuple):
    """What to tell the control plane."""

    acks: Sequence[RateAck]
    asks: Sequence[RateAsk]


class ShareGiven(NamedTuple):
    """A share as it is from now on, and what it brings; nothing: ask again after `retry_in_ms`."""

    key: RateKey
    serial: int
    share: RateShare
    added: int
    retry_in_ms: int


class RateShares:
    """All rates of the fleet that this sidecar has to do with. Owned by the gate's thread."""

    def __init__(self) -> None:
        self._customers: dict[str, dict[tuple[str, str, str], SharedBucket]] = {}
        # Whether a call asked, that knows the rate as it is now.
        self._wanted: dict[SharedBucket, bool] = {}
        self._last_serial = 0
        self._acks: list[RateAck] = []
        # Until when shares may be spent: as leases.
        self._term_ends_ms = NEVER_MS
        self.asks = 0

    @property
    def has_request(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._wanted or self._acks)

    def buckets(self) -> Iterator[SharedBucket]:
        """Iterate over all buckets."""
        return (bucket for buckets in self._customers.values() for bucket in buckets.values())

    def held(self) -> Iterator[SharedBucket]:
        """Iterate over those of which there is a share."""
        return (bucket for bucket in self.buckets() if bucket.is_held)

    def find(self, customer: str, key: FeatureKey, rate_id: str) -> SharedBucket | None:
        """Return the bucket of a rate; None where nothing was asked of it so far."""
        buckets = self._customers.get(customer)
        return None if buckets is None else buckets.get((*key, rate_id))

    def state(self, customer: str, key: FeatureKey, rate: Rate, boot_ms: int) -> RateState:
        """Return the state of a rate now: what the share has, else what is thought to be left."""
        bucket = self.find(customer, key, rate.id)
        if bucket is None:
            return RateState(rate, rate.level_max, is_held=False)
        if bucket.rate is not rate and bucket.rate != rate:
            self._redefine(bucket, rate, boot_ms)
        level = bucket.level_at(boot_ms) * rate.period_ms // UNIT_LEVEL
        if self._is_live(bucket, boot_ms):
            return RateState(rate, level, bucket.share.parts)
        if boot_ms < bucket.lapses_ms:
            return RateState(rate, 0, 0, bucket.lapses_ms - boot_ms)
        return RateState(rate, level, bucket.share.parts, is_held=False)

    def take(
        self, key: RateKey, rate: Rate, used: tuple[int, int, int]
    ) -> tuple[SharedBucket, int]:
        """Take an amount, or what is there of it; say what to give back if it was not used.

        `used` is the amount, the instant, and how long before that it was used.
        """
        amount, boot_ms, age_ms = used
        bucket = self._open(key, rate, boot_ms)
        bucket.move(boot_ms)
        level = max(amount * UNIT_LEVEL - age_ms * bucket.share.parts, 0)
        level = min(level, bucket.level)
        bucket.level -= level
        bucket.asked += max(amount, 0)
        bucket.used_ms = boot_ms
        return bucket, level

    def note_refused(self, key: RateKey, amount: int, boot_ms: int) -> None:
        """Note what was asked of a share in vain, and ask for a larger one."""
        bucket = self.find(key.customer, (key.resource, key.feature), key.rate_id)
        if bucket is None:
            return
        bucket.asked += amount
        bucket.used_ms = boot_ms
        bucket.units_min = max(bucket.units_min, min(amount, bucket.rate.burst))
        is_due = boot_ms - bucket.asked_ms >= ASK_AGAIN_MS
        if is_due and not whole_share(bucket.rate).is_within(bucket.share):
            self._wanted[bucket] = True

    def want(self, lacks: Iterable[RateLack], boot_ms: int) -> None:
        """Ask for shares that calls wait for."""
        for lack in lacks:
            bucket = self._open(lack.key, lack.rate, boot_ms)
            if bucket.is_held and not self._is_live(bucket, boot_ms):
                self._end(bucket)
            bucket.used_ms = boot_ms
            bucket.asked += lack.units
            bucket.units_min = max(bucket.units_min, lack.units)
            if not bucket.is_asking or boot_ms - bucket.asked_ms >= ASK_AGAIN_MS:
                self._wanted[bucket] = True

    def begin_stream(self, boot_ms: int) -> list[SharedBucket]:
        """Return what is held; until the control plane says it again, its time is not extended."""
        self._acks.clear()
        self._wanted.clear()
        self._last_serial = 0
        held = []
        for bucket in self.buckets():
            bucket.is_asking = False
            if bucket.is_held and self._is_live(bucket, boot_ms):
                bucket.until_ms = min(bucket.until_ms, self._term_ends_ms)
                held.append(bucket)
            else:
                bucket.is_held = False
        return held

    def begin_term(self, ends_ms: int, boot_ms: int) -> None:
        """Extend the time in which shares are spent; those that it ran out for have ended."""
        if boot_ms >= self._term_ends_ms:
            self._end_all()
        self._term_ends_ms = max(self._term_ends_ms, ends_ms)

    def next_request(self, boot_ms: int) -> RateRequest | None:
        """Return what to tell the control plane next; None where there is nothing."""
        if not self.has_request:
            return None
        acks, self._acks = self._acks, []
        asks = []
        for bucket in tuple(self._wanted)[:ASKS_PER_REQUEST_MAX]:
            is_of_call = self._wanted.pop(bucket)
            asks.append(self._ask(bucket, boot_ms, is_of_call=is_of_call))
        self.asks += len(asks)
        return RateRequest(acks, asks)

    def receive(self, given: Iterable[ShareGiven], boot_ms: int) -> list[RateKey]:
        """Take in shares; return of which rates something is known now."""
        return [each.key for each in given if self._take_in(each, boot_ms)]

    def forget(self, customer: str, boot_ms: int) -> None:
        """Give back a customer's shares and drop its buckets."""
        for bucket in tuple(self._customers.get(customer, {}).values()):
            self._drop(bucket, boot_ms)

    def give_back_all(self, boot_ms: int) -> None:
        """Give everything back: this sidecar stops."""
        for bucket in tuple(self.held()):
            self._give_back(bucket, boot_ms)

    def tidy(self, boot_ms: int, *, is_outage: bool) -> None:
        """Give back idle shares, tell what is asked of the others, and forget what is not used.

        In an outage the last shares are kept.
        """
        for bucket in tuple(self.buckets()):
            is_idle = boot_ms - bucket.used_ms >= IDLE_MS
            if not is_idle:
                self._tell_demand(bucket, boot_ms)
            elif not is_outage:
                self._drop(bucket, boot_ms)

    def _is_live(self, bucket: SharedBucket, boot_ms: int) -> bool:
        return bucket.is_held and boot_ms < min(self._term_ends_ms, bucket.until_ms)

    def _open(self, key: RateKey, rate: Rate, boot_ms: int) -> SharedBucket:
        buckets = self._customers.setdefault(key.customer, {})
        name = (key.resource, key.feature, key.rate_id)
        bucket = buckets.get(name)
        if bucket is None:
            bucket = buckets[name] = SharedBucket(key, rate, boot_ms)
        return bucket

    def _ask(self, bucket: SharedBucket, boot_ms: int, *, is_of_call: bool) -> RateAsk:
        claim = RateClaim(bucket.demand(boot_ms), min(bucket.units_min, bucket.rate.burst))
        bucket.units_min = 1
        bucket.is_asking = not bucket.is_held
        bucket.asked_ms = boot_ms
        return RateAsk(bucket.key, whole_share(bucket.rate) if is_of_call else None, claim)

    def _take_in(self, given: ShareGiven, boot_ms: int) -> bool:
        if given.serial <= self._last_serial:
            return False
        self._last_serial = given.serial
        key = given.key
        bucket = self.find(key.customer, (key.resource, key.feature), key.rate_id)
        if bucket is None:
            # Dropped while this was on its way: it is given back whole.
            if given.share.burst:
                self._acks.append(RateAck(key, given.serial, given.added, has_ended=True))
            else:
                self._acks.append(RateAck(key, given.serial, 0))
            return False
        bucket.move(boot_ms)
        is_live = self._is_live(bucket, boot_ms)
        level = (bucket.level if is_live else 0) + given.added
        share = given.share
        bucket.is_held = share != NO_SHARE
        bucket.serial = given.serial
        bucket.is_asking = False
        bucket.until_ms = FOREVER_MS
        bucket.at_ms = boot_ms
        bucket.level = min(level, share.burst * UNIT_LEVEL)
        if bucket.is_held:
            bucket.share = share
            bucket.lapses_ms = NEVER_MS
        else:
            bucket.lapses_ms = boot_ms + given.retry_in_ms
        returned = min(level - bucket.level, NUMBER_MAX)
        self._acks.append(RateAck(key, given.serial, returned))
        return True

    def _tell_demand(self, bucket: SharedBucket, boot_ms: int) -> None:
        """Have a demand told that changed much, where others want of the rate too."""
        if not bucket.is_held or whole_share(bucket.rate).is_within(bucket.share):
            return
        before = bucket.told
        now = bucket.demand(boot_ms)
        if now is not None and (before is None or 4 * abs(now - before) > before):
            self._wanted.setdefault(bucket, False)

    def _end_all(self) -> None:
        """End every share: its time is over. In an outage the last ones may still be needed."""
        for bucket in self.held():
            self._end(bucket)

    def _end(self, bucket: SharedBucket) -> None:
        bucket.is_held = False
        self._acks.append(RateAck(bucket.key, bucket.serial, 0, has_ended=True))

    def _give_back(self, bucket: SharedBucket, boot_ms: int) -> None:
        bucket.move(boot_ms)
        level = min(bucket.level, NUMBER_MAX) if self._is_live(bucket, boot_ms) else 0
        self._acks.append(RateAck(bucket.key, bucket.serial, level, has_ended=True))
        bucket.empty()

    def _drop(self, bucket: SharedBucket, boot_ms: int) -> None:
        if bucket.is_held:
            self._give_back(bucket, boot_ms)
        self._wanted.pop(bucket, None)
        key = bucket.key
        buckets = self._customers[key.customer]
        del buckets[key.resource, key.feature, key.rate_id]
        if not buckets:
            del self._customers[key.customer]

    def _redefine(self, bucket: SharedBucket, rate: Rate, boot_ms: int) -> None:
        """Take in that a rate was changed: no share is larger than all of it."""
        bucket.move(boot_ms)
        bucket.rate = rate
        if bucket.is_held:
            whole = whole_share(rate)
            bucket.share = bucket.share.least(whole)
            bucket.level = min(bucket.level, bucket.share.burst * UNIT_LEVEL)
            self._wanted[bucket] = True
        else:
            bucket.empty()
        bucket.lapses_ms = NEVER_MS
