"""Rebuilds, from the journal, what a restart must not forget: own usage and idempotency keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sidecar.core.book import Units, UnplacedUsage
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyedAnswer
from sidecar.core.reservations import Hold, HoldEnd
from sidecar.core.usage import Position
from sidecar.journal import START, Journal, StoredRecord
from sidecar.wire.record import HoldEnded, decode_record, holds_from_proto

_SLICE_RECORDS: Final = 500
_SLICE_BYTES: Final = 4 << 20


def replay_journal(journal: Journal, gate: Gate, keys_since_ms: int, usage_since_ms: int) -> int:
    """Take in keys and own usage of the records kept; return how many records that were.

    Keys go back to `keys_since_ms`. Usage is taken from unsettled records and from those written
    since `usage_since_ms`: the totals on disk include the others. To be called before snapshots
    are restored: their totals then take out what they include.
    """
    count = 0
    for stored in _kept(journal, keys_since_ms):
        has_usage = not stored.is_settled or stored.written_at_ms >= usage_since_ms
        _replay(stored, gate, has_usage=has_usage)
        count += 1
    return count


def _kept(journal: Journal, since_ms: int) -> Iterator[StoredRecord]:
    unsettled = journal.read_unsettled(START, 1, 0)
    after = Position(*journal.position_before(since_ms))
    if unsettled:
        first = unsettled[0]
        after = min(after, Position(first.epoch_index, first.number - 1))
    while records := journal.read_after(after, _SLICE_RECORDS, _SLICE_BYTES):
        for stored in records:
            if stored.written_at_ms >= since_ms or not stored.is_settled:
                yield stored
        after = Position(records[-1].epoch_index, records[-1].number)


def _replay(stored: StoredRecord, gate: Gate, *, has_usage: bool) -> None:
    position = Position(stored.epoch_index, stored.number)
    message = decode_record(stored.payload)
    of_holds = {hold.number for hold in message.hold_answers}
    numbers = (n for n in range(len(message.answers)) if n not in of_holds)
    for entry in message.record.entries:
        if has_usage:
            units = Units(entry.occurred_at_unix_ms, entry.amount)
            key = (entry.resource, entry.feature)
            gate.book.record(entry.customer, key, position, units)
            # Who is above it is known once snapshots are restored.
            usage = UnplacedUsage(position, entry.feature, units)
            gate.book.unplaced.keep(entry.customer, usage)
            for spent in entry.spent:
                micros = Units(entry.occurred_at_unix_ms, spent.micros)
                place = (entry.customer, entry.resource, spent.feature)
                gate.book.record_spent(place, position, micros, None)
        if entry.idempotency_key:
            answer = KeyedAnswer(entry.payload_digest, position, next(numbers))
            gate.keys.add(entry.customer, entry.idempotency_key, answer, stored.written_at_ms)
    for hold in message.hold_answers:
        answer = KeyedAnswer(hold.payload_digest, position, hold.number)
        gate.keys.add(hold.customer, hold.key, answer, stored.written_at_ms)
    _replay_holds(*holds_from_proto(message.record, stored.written_at_ms), gate)


def _replay_holds(opened: Sequence[Hold], closed: Sequence[HoldEnded], gate: Gate) -> None:
    for hold in opened:
        gate.reservations.put(hold)
    for customer, reservation, end, charged in closed:
        ended = gate.reservations.find(customer, reservation)
        if ended is not None:
            gate.reservations.drop(ended)
            if end is HoldEnd.EXPIRED:
                gate.reservations.put(ended._replace(has_expired=True, held=(), charged=charged))
