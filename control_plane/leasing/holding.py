"""Epochs that hold leases: their terms, what they say when they connect, and how they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from control_plane.leasing.accounts import NO_RECORD, EpochId, Holder, HolderState
from control_plane.leasing.book import LeaseBook

HOLDERS_PER_TICK: Final = 100


class LeaseTerms(NamedTuple):
    """How long leases may be spent after a sign of life, and when they count as spent after that.

    A sidecar counts from when it *sent* the sign, and stops a margin earlier.
    """

    ttl_ms: int
    lost_after_ms: int


class Returned(NamedTuple):
    """All units of a lease that were ever given back, and that were granted as far as it arrived.

    Nothing more is drawn from one that `has_ended`.
    """

    lease: int
    units: int
    granted: int
    has_ended: bool = False


class HolderClaim(NamedTuple):
    """What a sidecar says of its leases in its hello.

    `held` are those of this epoch; `written` is the last record of each epoch that records are
    kept of.
    """

    epoch: EpochId
    held: Sequence[Returned]
    written: Mapping[EpochId, int]
    may_have_lost: bool


def take_claims(
    book: LeaseBook,
    claims: Iterable[HolderClaim],
    marks: Mapping[EpochId, int],
    now_ms: int,
    terms: LeaseTerms,
) -> None:
    """Renew the epochs that speak, and end what they do not hold any more.

    `marks` tell how far each epoch of these sidecars is settled.
    """
    by_sidecar = {claim.epoch[0]: claim for claim in claims}
    holders = book.load_holders_of(by_sidecar)
    ending = [h for h in holders if h.id != by_sidecar[h.sidecar_id].epoch]
    speaking = [h for h in holders if h.id == by_sidecar[h.sidecar_id].epoch]
    for holder in ending:
        _end_epoch(holder, by_sidecar[holder.sidecar_id], marks)
        if holder.ends_at(marks.get(holder.id, 0)):
            book.close(holder, now_ms)
    renew(book, speaking, now_ms, terms)
    held = {epoch: {each.lease: each for each in of} for epoch, of in _held(by_sidecar.values())}
    for lease in book.load_leases_of(holder.id for holder in speaking):
        if lease.closes_after is not None:
            continue
        known = held[lease.holder].get(lease.id)
        if known is not None:
            # What was granted on an older stream and did not arrive: its messages are dropped.
            units = lease.take_back_beyond(known.granted) + lease.return_up_to(known.units)
            book.pools[lease.pool_id].give(units)
            continue
        # Records above the last one written cannot have drawn from what is not held.
        lease.closes_after = by_sidecar[lease.sidecar_id].written.get(lease.holder, 0)
        if lease.closes_after <= marks.get(lease.holder, 0):
            book.return_all([lease])


def _held(claims: Iterable[HolderClaim]) -> Iterator[tuple[EpochId, Sequence[Returned]]]:
    return ((claim.epoch, claim.held) for claim in claims)


def _end_epoch(holder: Holder, claim: HolderClaim, marks: Mapping[EpochId, int]) -> None:
    """End an earlier epoch at the last record it wrote; one that is not named wrote no more."""
    mark = marks.get(holder.id, 0)
    holder.closes_after = claim.written.get(holder.id, mark)
    # For good: the hello after the next one no longer knows of it.
    holder.may_have_lost = holder.may_have_lost or claim.may_have_lost


def renew(book: LeaseBook, holders: Iterable[Holder], now_ms: int, terms: LeaseTerms) -> None:
    """Extend the terms of epochs that gave a sign of life. What was presumed is theirs again."""
    back = []
    for holder in holders:
        if holder.state is HolderState.CLOSED:
            continue
        if holder.state is HolderState.PRESUMED:
            back.append(holder.id)
        holder.state = HolderState.OPEN
        holder.until_ms = max(holder.until_ms, now_ms + terms.ttl_ms)
        holder.seen_at_ms = now_ms
    for lease in book.load_leases_of(back):
        lease.revive()


def take_returns(book: LeaseBook, returns: Iterable[tuple[EpochId, Sequence[Returned]]]) -> None:
    """Take back units of leases, on the word of who holds them."""
    said = list(returns)
    book.load_leases({each.lease for _, returned in said for each in returned})
    for epoch, returned in said:
        for each in returned:
            lease = book.leases.get(each.lease)
            if lease is None or lease.holder != epoch:
                continue
            units = lease.return_up_to(each.units)
            if each.has_ended and lease.closes_after is None:
                units += lease.take_back_beyond(each.granted)
                # What is left was drawn by records that are on their way.
                lease.closes_after = NO_RECORD
            book.pools[lease.pool_id].give(units)


def make_holder(book: LeaseBook, epoch: EpochId, now_ms: int, terms: LeaseTerms) -> Holder:
    """Begin the term of an epoch that gets its first lease."""
    holder = Holder(
        *epoch,
        HolderState.OPEN,
        now_ms + terms.ttl_ms,
        closes_after=None,
        may_have_lost=False,
        created_at_ms=now_ms,
        seen_at_ms=now_ms,
    )
    book.holders.add(holder)
    return holder


def tick(book: LeaseBook, now_ms: int) -> bool:
    """Suspend epochs whose terms ran out; say whether there may be more to do."""
    late = book.load_overdue(HolderState.OPEN, now_ms, HOLDERS_PER_TICK)
    for holder in late:
        holder.state = HolderState.SUSPENDED
        # Lost is who stays away from now on: while nobody was here to see it, nobody was away.
        holder.until_ms = now_ms
    return len(late) == HOLDERS_PER_TICK
