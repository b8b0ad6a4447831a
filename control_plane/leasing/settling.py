"""Posts settled usage to the pools it counts in, and to the leases it was drawn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from control_plane.leasing.accounts import EpochId, Gain, HolderState, Lease
from control_plane.leasing.book import LeaseBook
from control_plane.leasing.credits import CreditUse
from control_plane.leasing.holds import HoldStep, post_holds
from weighbridge.rules.rolling import RollingUnits


class Draw(NamedTuple):
    """Units that a record took from a lease. Below 0: what a hold did not need, put back."""

    lease: int
    units: int


class RollingUsage(NamedTuple):
    """What is counted of a rolling window now, by bucket; and what of it is new, by instant."""

    counted: Mapping[int, int]
    spent: Mapping[int, int]


class SettledUsage(NamedTuple):
    """What a transaction settled.

    `draws` are those of each record with its epoch, `totals` the windows touched as they are now,
    `marks` those of every epoch that moved; `holds` come in the order of their records, and
    so do `credits`, what usage cost in these. `rolling` are the rolling windows touched, by the
    place of their pools.
    """

    draws: Sequence[tuple[EpochId, Sequence[Draw]]]
    totals: Mapping[Any, int]
    marks: Mapping[EpochId, int]
    holds: Sequence[HoldStep] = ()
    credits: Sequence[CreditUse] = ()
    rolling: Mapping[Any, RollingUsage] = {}


@dataclass(slots=True)
class PostedUsage:
    """What became of it: the pools that have more now, and draws that could not be applied."""

    gains: list[Gain] = field(default_factory=list)
    draws_refused: int = 0


def post_usage(connection: Connection, usage: SettledUsage, now_ms: int) -> PostedUsage:
    """Post what was settled. Where a lease has not what a record drew, the usage drew nothing."""
    book = LeaseBook(connection)
    book.credits.uses.extend(usage.credits)
    if not book.has_pools():
        refused = sum(len(draws) for _, draws in usage.draws)
        return PostedUsage(book.write(now_ms) if usage.credits else [], refused)
    drawn, refused = _apply_draws(book, usage, now_ms)
    for pool_id, units in post_holds(book, usage.holds).items():
        # What is held was drawn, and is not used: it is not the pool's again.
        drawn[pool_id] -= units
    book.load_pools_at([*usage.totals, *usage.rolling])
    book.buckets.load(book.pools.values(), now_ms)
    for pool in book.pools.values():
        if pool.place.rolling_ms is None:
            # A total that was not touched is as it was posted last.
            pool.settle(usage.totals.get(pool.place, pool.settled), drawn[pool.id])
        else:
            spent = book.buckets.of(pool)
            _spend(spent, usage.rolling.get(pool.place, _NOTHING), now_ms)
            pool.settle_rolling(spent, drawn[pool.id])
    _close_ended(book, usage.marks, now_ms)
    return PostedUsage(book.write(now_ms), refused)


_NOTHING: Final = RollingUsage({}, {})


def _spend(spent: RollingUnits, usage: RollingUsage, now_ms: int) -> None:
    for at_ms, units in usage.spent.items():
        spent.spend(at_ms, units, now_ms)
    spent.cover(usage.counted)


def _apply_draws(
    book: LeaseBook, usage: SettledUsage, now_ms: int
) -> tuple[defaultdict[int, int], int]:
    drawn: defaultdict[int, int] = defaultdict(int)
    put_back: list[Lease] = []
    refused = 0
    book.load_leases({draw.lease for _, draws in usage.draws for draw in draws})
    for epoch, draws in usage.draws:
        for id_, units in draws:
            lease = book.leases.get(id_)
            if lease is None or not _can_draw(lease, epoch, units):
                refused += 1
                continue
            lapsed = lease.draw(units)
            if lapsed:
                # It had come back; what was spent of it is posted below.
                book.pools[lease.pool_id].take(lapsed)
            drawn[lease.pool_id] += units
            if units >= 0:
                continue
            if lease.holder == epoch:
                # Records that are on their way may have drawn it again.
                put_back.append(lease)
            else:
                # Nobody can spend it there any more.
                lease.returned -= units
                book.pools[lease.pool_id].give(-units)
    _presume_again(book, put_back, now_ms)
    return drawn, refused


def _presume_again(book: LeaseBook, put_back: Sequence[Lease], now_ms: int) -> None:
    """Count what was put back into leases of an epoch that is lost as spent, like the rest."""
    lost = {
        holder.id
        for holder in book.load_holders({lease.holder for lease in put_back})
        if holder.state is HolderState.PRESUMED
    }
    for lease in put_back:
        if lease.holder in lost:
            lease.presume(book.pools[lease.pool_id], now_ms)


def _can_draw(lease: Lease, epoch: EpochId, units: int) -> bool:
    if units < 0:
        # A hold outlives the epoch that made it.
        return lease.sidecar_id == epoch[0] and lease.drawn >= -units
    return lease.holder == epoch and lease.rest + lease.presumed + lease.lapsed >= units


def _close_ended(book: LeaseBook, marks: Mapping[EpochId, int], now_ms: int) -> None:
    holders = book.load_holders(marks)
    for holder in holders:
        if holder.ends_at(marks[holder.id]):
            book.close(holder, now_ms)
    for lease in book.load_ending(h.id for h in holders if h.state is not HolderState.CLOSED):
        if lease.closes_after is not None and lease.closes_after <= marks[lease.holder]:
            book.return_all([lease])
