"""An epoch: one start of the sidecar, and how much of what it wrote is settled."""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from sidecar.journal.record import epoch_seed

_MINUTE_MS: Final = 60_000


class EpochRow(NamedTuple):
    """A row of the table of epochs. `base`: the sequence before the epoch's first record."""

    key: int
    sidecar_id: str
    epoch: str
    predecessor: str
    boot_id: str
    base: int
    started_at_ms: int
    settled_number: int
    stopped_cleanly: int

    def checksum(self) -> int:
        """Return the checksum that is stored with the row."""
        return zlib.crc32("\n".join(map(str, self)).encode())


class EpochView(NamedTuple):
    """What others see of an epoch. The index is its place among the epochs kept at the start."""

    epoch_index: int
    sidecar_id: str
    epoch: str
    predecessor: str
    last_number: int
    settled_number: int


class EpochState:
    """An epoch of which records are kept, or the one that runs."""

    __slots__ = (
        "first_number",
        "index",
        "is_dirty",
        "is_history_cut",
        "last_number",
        "row",
        "seed",
        "settled_minutes",
        "settled_number",
    )

    def __init__(self, index: int, row: EpochRow, first_number: int, last_number: int) -> None:
        self.index = index
        self.row = row
        self.seed = epoch_seed(row.sidecar_id, row.epoch)
        # Records below are pruned.
        self.first_number = first_number
        self.last_number = last_number
        self.settled_number = row.settled_number
        # When records were settled, by the minute: what pruning goes by.
        self.settled_minutes: dict[int, int] = {}
        # Whether `settled_number` is ahead of the disk; whether minutes went away.
        self.is_dirty = False
        self.is_history_cut = False

    @property
    def unsettled(self) -> int:
        """How many records are not settled."""
        return self.last_number - self.settled_number

    @property
    def is_pruned(self) -> bool:
        """Whether no record is left that anybody may ask for."""
        return self.first_number > self.last_number

    def view(self) -> EpochView:
        """Return what others see."""
        row = self.row
        return EpochView(
            self.index,
            row.sidecar_id,
            row.epoch,
            row.predecessor,
            self.last_number,
            self.settled_number,
        )

    def settle(self, number: int, now_ms: int) -> None:
        """Note that exactly the records up to the number are settled, which may be fewer."""
        number = min(number, self.last_number)
        if number == self.settled_number:
            return
        if number < self.settled_number:
            kept = {m: n for m, n in self.settled_minutes.items() if n <= number}
            self.settled_minutes = kept
            self.is_history_cut = True
        self.settled_number = number
        self.settled_minutes[now_ms // _MINUTE_MS] = number
        self.is_dirty = True

    def note_settled(self, now_ms: int) -> None:
        """Count as settled now what is settled without a known time: damage took it."""
        if self.settled_number > max(self.settled_minutes.values(), default=0):
            self.settled_minutes[now_ms // _MINUTE_MS] = self.settled_number
            self.is_dirty = True

    def kept(self) -> None:
        """Note that the disk has what is settled."""
        self.row = self.row._replace(settled_number=self.settled_number)
        self.is_dirty = False
        self.is_history_cut = False

    def prunable_number(self, settled_before_ms: int) -> int:
        """Return the last record that was settled before an instant; 0 where none was."""
        minute = settled_before_ms // _MINUTE_MS
        numbers = [n for m, n in self.settled_minutes.items() if m < minute]
        return min(max(numbers, default=0), self.settled_number)

    def forget_minutes(self) -> None:
        """Drop the minutes of which every record is pruned."""
        stale = [m for m, n in self.settled_minutes.items() if n < self.first_number]
        for minute in stale:
            del self.settled_minutes[minute]
        self.is_history_cut = self.is_history_cut or bool(stale)
