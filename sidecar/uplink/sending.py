"""Which usage records to send next, and what an acknowledgement means. Sans-I/O.

Records go up in the order they were written, oldest epoch first, at most IN_FLIGHT_RECORDS_MAX of
them unacknowledged at once. A batch that is not full waits until the next turn of a slow beat
(`is_due`): settling many records costs the control plane hardly more than settling one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from sidecar.core.book import UsageBook
from sidecar.core.epochs import RecordMark
from sidecar.core.request import DIGEST_SIZE
from sidecar.core.usage import Position
from sidecar.journal import START, Journal, StoredRecord
from sidecar.wire.record import decode_record
from weighbridge.v1 import sync_service_pb2 as pb

BATCH_RECORDS_MAX: Final = 200
BATCH_BYTES_MAX: Final = 1 << 20
IN_FLIGHT_RECORDS_MAX: Final = 2_000


class UsageSending:
    """The records on their way up."""

    def __init__(self, journal: Journal, book: UsageBook) -> None:
        self._journal = journal
        self._book = book
        self._sent = Position(*START)
        self._in_flight = 0
        self.sent_records = 0
        # Whether a batch may go that is not full.
        self.is_due = True
        # Settled, but totals that include it may be on their way: what is settled, by the usage
        # revision that has to be here first.
        self._unpromised: deque[tuple[int, dict[int, int]]] = deque()
        self._settled_at_welcome: dict[int, int] = {}

    def begin(self, settled: Iterable[RecordMark], now_ms: int) -> None:
        """Start a stream: the control plane says what it has settled of each epoch.

        A mark below what was acknowledged before (a restored database) brings the records above
        it back to be sent again.
        """
        marks = {(mark.sidecar_id, mark.epoch): mark.number for mark in settled}
        for epoch in self._journal.epochs():
            number = marks.get((epoch.sidecar_id, epoch.epoch), 0)
            self._journal.settle(epoch.sidecar_id, epoch.epoch, number, now_ms)
        self._sent = Position(*START)
        self._in_flight = 0
        self.is_due = True
        self._unpromised.clear()
        self._settled_at_welcome = self._settled()

    @property
    def has_batch(self) -> bool:
        """Whether there are records to send now."""
        unsent = self._journal.unsettled_records - self._in_flight
        return unsent >= BATCH_RECORDS_MAX or (self.is_due and unsent > 0)

    def next_batch(self) -> pb.UsageBatch | None:
        """Return the next records to send; None where there are none or enough are on their way."""
        if not self.has_batch:
            return None
        room = min(IN_FLIGHT_RECORDS_MAX - self._in_flight, BATCH_RECORDS_MAX)
        if room <= 0:
            return None
        records = self._journal.read_unsettled(self._sent, room, BATCH_BYTES_MAX)
        if not records:
            return None
        last = records[-1]
        self._sent = Position(last.epoch_index, last.number)
        self._in_flight += len(records)
        self.sent_records += len(records)
        self.is_due = self._journal.unsettled_records > self._in_flight
        return pb.UsageBatch(records=[_record_of(stored) for stored in records])

    def acknowledged(self, mark: RecordMark, usage_revision: int, now_ms: int) -> None:
        """Take in that the control plane has settled every record up to the mark.

        Totals include them as of the usage revision, so until that is here they count as own.
        """
        self._journal.settle(mark.sidecar_id, mark.epoch, mark.number, now_ms)
        self._in_flight = self._journal.count_unsettled(up_to=self._sent)
        self._unpromised.append((usage_revision, self._settled()))

    def caught_up(self) -> None:
        """Take in that every total that changed before the stream began is here."""
        self._book.settled(self._settled_at_welcome)

    def promised(self, usage_revision: int) -> None:
        """Take in that every change of totals up to the usage revision is here."""
        while self._unpromised and self._unpromised[0][0] <= usage_revision:
            self._book.settled(self._unpromised.popleft()[1])

    def _settled(self) -> dict[int, int]:
        return {epoch.epoch_index: epoch.settled_number for epoch in self._journal.epochs()}


def _record_of(stored: StoredRecord) -> pb.UsageRecord:
    if stored.is_lost:
        # Numbers are taken without gaps: an empty record in its place lets the later ones through.
        return pb.UsageRecord(
            sidecar_id=stored.sidecar_id,
            epoch=stored.epoch,
            number=stored.number,
            digest=blake2b(b"", digest_size=DIGEST_SIZE).digest(),
        )
    return decode_record(stored.payload).record
