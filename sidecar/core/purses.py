"""Credits: leases of grants, spent in burn order, and the purse that they are in together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.core.holding import Cover, Refused, covered_by
from sidecar.core.leases import NEVER_MS, Lack, Leases, Pool, Take
from sidecar.core.moment import Moment
from weighbridge.rules.credits import Tariff
from weighbridge.rules.lease import PoolKey, credit_pool, is_low
from weighbridge.rules.ledger import BurnRank


class TrancheTerms(NamedTuple):
    """When a grant burns, and until when it may be spent, on the control plane's clock."""

    rank: BurnRank
    expires_at_ms: int | None


class Purse(Pool):
    """All that is leased of one balance. What is asked for, refused and lifted is of this."""

    __slots__ = ("tranches",)

    def __init__(self, key: PoolKey, boot_ms: int) -> None:
        super().__init__(key, NEVER_MS, boot_ms)
        # In burn order.
        self.tranches: list[Tranche] = []

    @property
    def is_busy(self) -> bool:
        """Whether it has to stay."""
        return bool(self.asked or self.tranches)

    @property
    def left(self) -> int:
        """What is not drawn, spendable or not."""
        return sum(tranche.remaining for tranche in self.tranches)

    def spendable(self, now_ms: int) -> int:
        """Return what may be spent now, while the term of leases runs."""
        return sum(each.remaining for each in self.tranches if now_ms < each.end_ms)

    def take(self, micro: int, now_ms: int) -> tuple[list[Take], int]:
        """Return what to draw for an amount, in burn order, and what is missing."""
        takes = []
        for tranche in self.tranches:
            if not micro:
                break
            if tranche.remaining and now_ms < tranche.end_ms:
                units = min(micro, tranche.remaining)
                takes.append(Take(tranche, units))
                micro -= units
        return takes, micro

    def filled(self, boot_ms: int) -> None:
        """Take in that a tranche got more."""
        self.refusal = None
        self.filled_to = self.left
        self.spent = 0
        self.spent_since_ms = boot_ms


class Tranche(Pool):
    """What is leased of one grant."""

    __slots__ = ("purse", "rank")

    def __init__(self, key: PoolKey, purse: Purse, terms: TrancheTerms, boot_ms: int) -> None:
        end_ms = NEVER_MS if terms.expires_at_ms is None else terms.expires_at_ms
        super().__init__(key, end_ms, boot_ms)
        self.purse = purse
        self.rank = terms.rank

    def take_grant(self, lease_id: int, granted: int, limit: int, boot_ms: int) -> None:
        """Take in the lease; that its purse is low is looked at as a whole."""
        before = self.remaining
        super().take_grant(lease_id, granted, limit, boot_ms)
        self.filled_to = 0
        if self.remaining > before:
            self.purse.filled(boot_ms)

    def ended(self) -> None:
        """Leave the purse."""
        self.purse.tranches.remove(self)


def open_purse(leases: Leases, payer: str, credit_type: str, boot_ms: int) -> Purse:
    """Return the purse, made where it is new."""
    key = credit_pool(payer, credit_type)
    purse = leases.find(key)
    if purse is None:
        purse = Purse(key, boot_ms)
        leases.put(purse)
    assert isinstance(purse, Purse), key
    return purse


def open_tranche(leases: Leases, key: PoolKey, terms: TrancheTerms, boot_ms: int) -> None:
    """Make the pool of a grant that is leased for the first time."""
    if leases.find(key) is not None:
        return
    purse = open_purse(leases, key.customer, key.credit_type, boot_ms)
    tranche = Tranche(key, purse, terms, boot_ms)
    leases.put(tranche)
    purse.tranches.append(tranche)
    purse.tranches.sort(key=_rank)


def cover_credits(
    leases: Leases, tariff: Tariff, cover: Cover, amount: int, moment: Moment
) -> Cover:
    """Add what leases of credits cover of a call. Changes nothing but what is known of pools."""
    boot_ms = moment.boot_ms
    micro = tariff.charge(amount)
    purse = open_purse(leases, tariff.payer, tariff.credit_type, boot_ms)
    takes: list[Take] = []
    missing = micro
    if boot_ms < leases.term_ends_ms:
        takes, missing = purse.take(micro, moment.now_ms)
    if not missing:
        return cover._replace(takes=[*cover.takes, *takes])
    here = micro - missing
    lack = Lack(purse, missing, 0, tariff.covered(here))
    refused = cover.refused
    refusal = purse.refuses(0, missing, boot_ms)
    if refusal is not None:
        would_pass = tariff.covered(here + refusal.available)
        found = Refused(tariff.payer, None, refusal, would_pass, tariff=tariff)
        refused = found if refused is None else min(refused, found, key=covered_by)
    return Cover([*cover.takes, *takes], [*cover.lacks, lack], refused, lacks_money=True)


def credits_held(leases: Leases, tariff: Tariff, moment: Moment) -> int:
    """Return what this sidecar may spend of the balance that pays, without asking."""
    purse = leases.find(credit_pool(tariff.payer, tariff.credit_type))
    if not isinstance(purse, Purse) or moment.boot_ms >= leases.term_ends_ms:
        return 0
    return purse.spendable(moment.now_ms)


def note_spent(leases: Leases, takes: Sequence[Take], boot_ms: int) -> None:
    """Have purses refilled that became low by what was drawn from their tranches."""
    for pool, units in takes:
        if isinstance(pool, Tranche):
            purse = pool.purse
            purse.spent += units
            purse.used_ms = boot_ms
            if not purse.asked and is_low(purse.left, purse.filled_to):
                leases.low[purse] = None


def _rank(tranche: Tranche) -> BurnRank:
    return tranche.rank
