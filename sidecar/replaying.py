"""Rebuilds, from the journal, what a restart must not forget: own usage and idempotency keys."""

from __future__ import annotations

from sidecar.core.book import Units
from sidecar.core.epochs import EpochId, EpochIndexes
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyedAnswer
from sidecar.core.usage import Position
from sidecar.journal import Journal, StoredRecord
from sidecar.wire.record import decode_record


def replay_journal(journal: Journal, gate: Gate, epochs: EpochIndexes, keys_since_ms: int) -> int:
    """Take in unsettled records and those written since `keys_since_ms`; return how many.

    To be called before snapshots are restored: their totals then take out what they include.
    """
    for epoch in journal.epochs():
        epochs.index(EpochId(epoch.sidecar_id, epoch.epoch))
    count = 0
    for stored in journal.read_kept(keys_since_ms):
        _replay(stored, gate, epochs)
        count += 1
    return count


def _replay(stored: StoredRecord, gate: Gate, epochs: EpochIndexes) -> None:
    index = epochs.index(EpochId(stored.sidecar_id, stored.epoch))
    position = Position(index, stored.number)
    keyed = 0
    for entry in decode_record(stored.payload).record.entries:
        units = Units(entry.occurred_at_unix_ms, entry.amount)
        key = (entry.resource, entry.feature)
        gate.book.record(entry.customer, key, position, units)
        if entry.idempotency_key:
            answer = KeyedAnswer(entry.payload_digest, position, keyed)
            gate.keys.add(entry.customer, entry.idempotency_key, answer, stored.written_at_ms)
            keyed += 1
