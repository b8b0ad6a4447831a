"""Bugs to be planted: each breaks one rule that the design rests on, and has to be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from control_plane.granting import granter
from control_plane.granting.granter import _Granting
from control_plane.leasing import holding
from control_plane.leasing.accounts import Holder, HolderState, Pool
from control_plane.leasing.book import LeaseBook
from control_plane.metering import ingest
from sidecar import process, replaying
from sidecar.core import reserving
from sidecar.core.keys import KeyTable
from sidecar.core.leases import Pool as SidecarPool
from sidecar.journal import Journal
from sidecar.transport import seam
from sidecar.wire.record import EncodedRecord
from tests.simulation import control_plane_node


@contextmanager
def reclaim_without_suspension() -> Iterator[None]:
    """At the end of its term, what an epoch has left goes back at once: its clock is trusted."""

    def tick(book: LeaseBook, now_ms: int) -> bool:
        late = book.load_overdue(HolderState.OPEN, now_ms, holding.HOLDERS_PER_TICK)
        for holder in late:
            holder.state = HolderState.SUSPENDED
        for held in book.load_leases_of(holder.id for holder in late):
            book.pools[held.pool_id].give(held.return_rest())
        return False

    with patch.object(granter, "tick", tick):
        yield


@contextmanager
def mark_outside_transaction() -> Iterator[None]:
    """Move the high-water mark in the next transaction: a crash between them settles twice."""
    late: list[Any] = []
    move = ingest.move_marks
    opened = ingest.open_marks

    def open_marks(connection: Any, epochs: Any, now_ms: int) -> Any:
        while late:
            move(connection, late.pop(), now_ms)
        return opened(connection, epochs, now_ms)

    with (
        patch.object(ingest, "open_marks", open_marks),
        patch.object(ingest, "move_marks", lambda _c, marks, _now: late.append(marks)),
        patch.object(control_plane_node, "Process", _forgetting(late)),
    ):
        yield


def _forgetting(late: list[Any]) -> Any:
    """Return a process that starts without what the one before had still to write."""

    class Forgetting(control_plane_node.Process):
        def __init__(self, node: Any) -> None:
            late.clear()
            super().__init__(node)

    return Forgetting


@contextmanager
def keys_in_memory_only() -> Iterator[None]:
    """Forget every key and every hold's answer at a restart."""
    replay = process.replay_journal

    def forgetful(journal: Journal, gate: Any, keys_since_ms: int, usage_since_ms: int) -> int:
        count = replay(journal, gate, keys_since_ms, usage_since_ms)
        gate.keys = KeyTable(100_000, 900_000)
        return count

    with patch.object(process, "replay_journal", forgetful):
        yield


@contextmanager
def ended_counters_reused() -> Iterator[None]:
    """Go on, in a new lease of a pool, with the counters of the one that ended."""

    def take_grant(
        self: SidecarPool, lease_id: int, granted: int, limit: int, boot_ms: int
    ) -> None:
        self.lease_id = lease_id
        self.limit = limit
        if granted > self.granted:
            self.granted = granted
            self.refusal = None
        self.remaining = self.granted
        self.filled_to = self.remaining
        self.spent_since_ms = boot_ms

    with patch.object(SidecarPool, "take_grant", take_grant):
        yield


@contextmanager
def draws_left_out() -> Iterator[None]:
    """Write into records what was used, and not from which lease."""
    encode = seam.encode_record

    def encode_record(identity: Any, batch: Any, answers: Any) -> EncodedRecord:
        before, batch.draws = batch.draws, {}
        try:
            return encode(identity, batch, answers)
        finally:
            batch.draws = before

    with patch.object(seam, "encode_record", encode_record):
        yield


@contextmanager
def granted_without_debit() -> Iterator[None]:
    """Units that a recall brought back are granted, and stay available."""
    grant = _Granting._grant

    def without_debit(self: _Granting, asking: Any) -> Any:
        before = {key: pool.available for key, pool in self._pools.items()}
        answer = grant(self, asking)
        for want in asking.wants:
            if want.units_min:
                self._pools[want.pool].available = before[want.pool]
        return answer

    with patch.object(_Granting, "_grant", without_debit):
        yield


@contextmanager
def expiry_returns_twice() -> Iterator[None]:
    """Put the units of a hold that expires back twice."""
    close = reserving.HoldStage._close

    def twice(self: Any, hold: Any, end: Any, *, used: int) -> None:
        close(self, hold, end, used=used)
        if end is reserving.HoldEnd.EXPIRED:
            for pool, lease_id, units, *_ in hold.held:
                if pool is not None and self._gate.leases.is_held(pool, lease_id):
                    self._gate.leases.put_back(pool, units, self._number)

    with patch.object(reserving.HoldStage, "_close", twice):
        yield


@contextmanager
def told_charged_twice() -> Iterator[None]:
    """Charge at its deadline twice what the work over a hold says it has used."""
    charge = reserving.HoldStage._charge_told

    def twice(self: Any, hold: Any) -> int | None:
        return charge(self, hold._replace(used=2 * hold.used))

    with patch.object(reserving.HoldStage, "_charge_told", twice):
        yield


@contextmanager
def epoch_closed_before_its_records() -> Iterator[None]:
    """Give an epoch's leases back with the next hello, its records still on their way."""

    def end_epoch(holder: Holder, claim: Any, marks: Any) -> None:
        holder.closes_after = marks.get(holder.id, 0)
        holder.may_have_lost = holder.may_have_lost or claim.may_have_lost

    with patch.object(holding, "_end_epoch", end_epoch):
        yield


@contextmanager
def overdraft_refused_silently() -> Iterator[None]:
    """Post the total of a window as if all of it had been drawn from leases."""

    def settle(self: Pool, total: int, _drawn: int) -> None:
        self.settled = max(total, 0)

    with patch.object(Pool, "settle", settle):
        yield


@contextmanager
def holds_forgotten_by_restart() -> Iterator[None]:
    """Forget at a restart what is held, so that nobody ever ends it."""
    with patch.object(replaying, "_replay_holds", lambda _opened, _closed, _gate: None):
        yield


PLANTED: Final[Mapping[str, Callable[[], Any]]] = {
    "reclaim without suspension": reclaim_without_suspension,
    "mark moved outside the transaction": mark_outside_transaction,
    "keys kept in memory only": keys_in_memory_only,
    "counters of an ended lease reused": ended_counters_reused,
    "draws left out of the record": draws_left_out,
    "granted without debit under recall": granted_without_debit,
    "expired hold returned twice": expiry_returns_twice,
    "told usage charged twice": told_charged_twice,
    "epoch closed before its records came": epoch_closed_before_its_records,
    "undrawn usage not taken from the pool": overdraft_refused_silently,
    "holds forgotten by a restart": holds_forgotten_by_restart,
}
