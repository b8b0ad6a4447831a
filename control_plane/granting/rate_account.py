"""One rate of the fleet: who has which part of it, and what nobody has. Sans-I/O.

What nobody has is a bucket as well. So all buckets hold at most the burst, and at most the rate
comes back in them: a part is another's only once its holder said that it no longer has it, or its
time ran out (docs/adr/0024). `now_ms` is of a clock that never steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from weighbridge.rules.rate_share import (
    NO_SHARE,
    NUMBER_MAX,
    UNIT_LEVEL,
    RateClaim,
    RateShare,
    shared_out,
    turn_ms,
    usable,
)

CLAIM_MS: Final = 5_000
"""How long a sidecar without a share counts as wanting one."""

ANSWER_MS: Final = 1_000
"""How long one that asks waits for others to give up theirs, before it is told to ask again."""


UNKNOWN: Final = RateClaim()


class Told(NamedTuple):
    """What a sidecar is to be told: its share from now on, and what that brings."""

    sidecar: str
    serial: int
    share: RateShare
    added: int = 0
    retry_in_ms: int = 0


@dataclass(slots=True)
class Holder:
    """A sidecar that has a share, or wants one.

    `share` is the most that it may be using; `offered` what it was told last, which counts once it
    is acknowledged where `is_pending`.
    """

    claimed_ms: int
    claim: RateClaim = UNKNOWN
    share: RateShare = NO_SHARE
    offered: RateShare = NO_SHARE
    serial: int = 0
    is_pending: bool = False
    is_reachable: bool = True
    # Since when it waits for an answer.
    waits_since_ms: int | None = None

    def wants(self, now_ms: int) -> bool:
        """Whether it takes part when the rate is shared out."""
        has_any = self.share != NO_SHARE
        return self.is_reachable and (has_any or now_ms - self.claimed_ms < CLAIM_MS)


class RateAccount:
    """The parts of one rate. `fenced`: what others may have of whom nothing is known so far."""

    def __init__(self, whole: RateShare, level: int, serials: Iterator[int], now_ms: int) -> None:
        self.whole = whole
        self.fenced = NO_SHARE
        # In the order of their turns.
        self.holders: dict[str, Holder] = {}
        self._revision = 0
        self._serials = serials
        # What the bucket of nobody's parts has.
        self._level = level
        self._at_ms = now_ms
        self._turn_ends_ms: int | None = None

    @property
    def is_busy(self) -> bool:
        """Whether time alone may change something."""
        return self._turn_ends_ms is not None or any(
            holder.waits_since_ms is not None or holder.share == NO_SHARE
            for holder in self.holders.values()
        )

    def is_full(self, now_ms: int) -> bool:
        """Whether nobody has any of it, and nothing is missing."""
        self._move(now_ms)
        return not self.holders and self._level >= self.whole.burst * UNIT_LEVEL

    def redefine(self, whole: RateShare, revision: int, now_ms: int) -> None:
        """Take in how much the rate has, unless something newer is known."""
        if revision < self._revision:
            return
        self._revision = revision
        if whole != self.whole:
            self._move(now_ms)
            # A raised burst is there at once, and what was taken stays taken.
            self._level += max(whole.burst - self.whole.burst, 0) * UNIT_LEVEL
            self.whole = whole
            self._move(now_ms)

    def fence(self) -> None:
        """Count all that no known sidecar has as someone's."""
        self.fenced = self._unheld()

    def lift_fence(self, now_ms: int) -> None:
        """Take note that nobody unknown has any of it any more."""
        self._move(now_ms)
        self.fenced = NO_SHARE

    def adopt(self, sidecar: str, share: RateShare, now_ms: int) -> bool:
        """Count a share as a sidecar's that a process before this one gave it."""
        if not share.is_within(self.fenced) or sidecar in self.holders:
            return False
        self.fenced = self.fenced.minus(share)
        self.holders[sidecar] = Holder(now_ms, share=share, offered=share)
        return True

    def keep(self, sidecar: str, share: RateShare, now_ms: int) -> Told:
        """Take in what a sidecar says on a new stream that it has, and state it again."""
        holder = self.holders.get(sidecar)
        if holder is None or not share.is_within(holder.share):
            self.end(sidecar, now_ms)
            return Told(sidecar, next(self._serials), NO_SHARE)
        self._move(now_ms)
        holder.share = holder.offered = share
        holder.is_pending = False
        holder.is_reachable = True
        holder.waits_since_ms = None
        holder.serial = next(self._serials)
        return Told(sidecar, holder.serial, share)

    def claim(self, sidecar: str, claim: RateClaim, now_ms: int) -> None:
        """Take in what a sidecar wants."""
        holder = self.holders.get(sidecar)
        if holder is None:
            holder = self.holders[sidecar] = Holder(now_ms)
        holder.claim = claim
        holder.claimed_ms = now_ms
        holder.is_reachable = True
        if holder.share == NO_SHARE and holder.waits_since_ms is None:
            holder.waits_since_ms = now_ms

    def acknowledged(self, sidecar: str, serial: int, returned: int, now_ms: int) -> None:
        """Take in that a sidecar has what it was told, and what was too much for that."""
        holder = self.holders.get(sidecar)
        if holder is None or serial != holder.serial or not holder.is_pending:
            return
        self._move(now_ms)
        holder.share = holder.offered
        holder.is_pending = False
        self._put_back(returned)

    def given_back(self, sidecar: str, serial: int, returned: int, now_ms: int) -> None:
        """Take in that a sidecar gave a share back; it may have been told of another since."""
        holder = self.holders.get(sidecar)
        if holder is None:
            return
        if serial == holder.serial:
            self.end(sidecar, now_ms)
        else:
            # It has nothing of the one before, whatever it makes of the one on its way.
            self._move(now_ms)
            holder.share = holder.offered
            holder.is_pending = False
        self._put_back(returned)

    def end(self, sidecar: str, now_ms: int) -> None:
        """Take note that a sidecar has no share any more; what its bucket had is lost."""
        self._move(now_ms)
        self.holders.pop(sidecar, None)

    def lose_sight(self, sidecar: str) -> None:
        """Take note that a sidecar cannot be told anything; what it has stays its own."""
        holder = self.holders.get(sidecar)
        if holder is None:
            return
        holder.is_reachable = False
        holder.waits_since_ms = None
        if holder.share == NO_SHARE:
            del self.holders[sidecar]

    def share_out(self, now_ms: int) -> list[Told]:
        """Have everybody's share follow what is wanted, as far as that can be had by now."""
        self._move(now_ms)
        self._forget_claims(now_ms)
        self._next_turn(now_ms)
        wanting = [item for item in self.holders.items() if item[1].wants(now_ms)]
        apart = (h.share for h in self.holders.values() if not h.wants(now_ms))
        whole = self.whole.minus(self.fenced)
        for share in apart:
            whole = whole.minus(share)
        targets = shared_out(whole, [holder.claim for _, holder in wanting])
        is_crowded = NO_SHARE in targets
        if is_crowded and self._turn_ends_ms is None:
            self._turn_ends_ms = now_ms + turn_ms(self.whole)
        elif not is_crowded:
            self._turn_ends_ms = None
        told: list[Told] = []
        for (sidecar, holder), target in zip(wanting, targets, strict=True):
            told += self._shrink(sidecar, holder, target, now_ms)
        for (sidecar, holder), target in zip(wanting, targets, strict=True):
            told += self._grow(sidecar, holder, target)
        for (sidecar, holder), target in zip(wanting, targets, strict=True):
            told += self._answer(sidecar, holder, target, now_ms)
        return told

    def _shrink(
        self, sidecar: str, holder: Holder, target: RateShare, now_ms: int
    ) -> Iterable[Told]:
        if holder.is_pending or holder.share.is_within(target):
            return
        holder.offered = holder.share.least(target)
        holder.is_pending = True
        holder.serial = next(self._serials)
        retry_ms = self._retry_ms(now_ms) if holder.offered == NO_SHARE else 0
        yield Told(sidecar, holder.serial, holder.offered, 0, retry_ms)

    def _grow(self, sidecar: str, holder: Holder, target: RateShare) -> Iterable[Told]:
        if holder.is_pending or not holder.share.is_within(target):
            return
        free = self._free()
        reachable = holder.share.plus(free)
        share = usable(min(target.parts, reachable.parts), min(target.burst, reachable.burst))
        if share in (NO_SHARE, holder.share):
            return
        more = (share.burst - holder.share.burst) * UNIT_LEVEL
        added = min(self._level, more, NUMBER_MAX)
        self._level -= added
        holder.share = holder.offered = share
        holder.waits_since_ms = None
        holder.serial = next(self._serials)
        yield Told(sidecar, holder.serial, share, added)

    def _answer(
        self, sidecar: str, holder: Holder, target: RateShare, now_ms: int
    ) -> Iterable[Told]:
        """Tell one that waits when to ask again, where it gets nothing for now."""
        waits_since_ms = holder.waits_since_ms
        if waits_since_ms is None or holder.is_pending:
            return
        if target != NO_SHARE and now_ms - waits_since_ms < ANSWER_MS:
            return
        holder.waits_since_ms = None
        holder.serial = next(self._serials)
        yield Told(sidecar, holder.serial, NO_SHARE, 0, self._retry_ms(now_ms))

    def _retry_ms(self, now_ms: int) -> int:
        if self._turn_ends_ms is None:
            return ANSWER_MS
        return max(self._turn_ends_ms - now_ms, 1)

    def _next_turn(self, now_ms: int) -> None:
        """Have those that had their turn stand behind the others, once it is over."""
        if self._turn_ends_ms is None or now_ms < self._turn_ends_ms:
            return
        self._turn_ends_ms = None
        had = [name for name, holder in self.holders.items() if holder.share != NO_SHARE]
        for sidecar in had:
            self.holders[sidecar] = self.holders.pop(sidecar)

    def _forget_claims(self, now_ms: int) -> None:
        for sidecar, holder in tuple(self.holders.items()):
            if holder.share == NO_SHARE and not holder.wants(now_ms):
                del self.holders[sidecar]

    def _unheld(self) -> RateShare:
        """Return what no holder has, though others may; less than nothing is nothing."""
        parts = sum(holder.share.parts for holder in self.holders.values())
        burst = sum(holder.share.burst for holder in self.holders.values())
        return self.whole.minus(RateShare(parts, burst))

    def _free(self) -> RateShare:
        return self._unheld().minus(self.fenced)

    def _put_back(self, level: int) -> None:
        self._level = min(self._level + level, self._free().burst * UNIT_LEVEL)

    def _move(self, now_ms: int) -> None:
        free = self._free()
        level = self._level + free.parts * max(now_ms - self._at_ms, 0)
        self._level = min(level, free.burst * UNIT_LEVEL)
        self._at_ms = max(self._at_ms, now_ms)
