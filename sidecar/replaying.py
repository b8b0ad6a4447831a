"""Rebuilds, from the journal, what a restart must not forget: own usage and idempotency keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sidecar.core.book import Units, UnplacedUsage
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyedAnswer
from sidecar.core.usage import Position
from sidecar.journal import START, Journal, StoredRecord
from sidecar.wire.record import decode_record

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
    keyed = 0
    for entry in decode_record(stored.payload).record.entries:
        if has_usage:
            units = Units(entry.occurred_at_unix_ms, entry.amount)
            key = (entry.resource, entry.feature)
            gate.book.record(entry.customer, key, position, units)
            # Who is above it is known once snapshots are restored.
            usage = UnplacedUsage(position, entry.feature, units)
            gate.book.unplaced.keep(entry.customer, usage)
        if entry.idempotency_key:
            answer = KeyedAnswer(entry.payload_digest, position, keyed)
            gate.keys.add(entry.customer, entry.idempotency_key, answer, stored.written_at_ms)
            keyed += 1
