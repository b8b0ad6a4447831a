"""What the owner thread and the maintenance thread both see of the journal."""

from __future__ import annotations

import threading

from sidecar.journal.epoch import EpochState


class JournalState:
    """Shared under `lock`, which is held for one short write at a time.

    A write that begins the write-ahead log anew syncs its head: once per length of the log. A log
    that grew to four times its length, because appends never paused, is moved under the lock too.
    """

    def __init__(self, epochs: list[EpochState], current: EpochState) -> None:
        self.lock = threading.Lock()
        self.epochs = epochs
        self.current = current
        # When the last record was written, as its row says.
        self.written_at_ms = 0
        # Pages in use when last measured, plus what was appended since.
        self.bytes_used = 0
        # About how long the write-ahead log is.
        self.log_bytes = 0
        # Set: somebody asked to prune what was settled long before this.
        self.prune_now_ms: int | None = None
        # Why nothing is appended until `recover`; "" where all is well. And whether what is on
        # disk is known to be damaged.
        self.failure = ""
        self.damage = ""

    def fail(self, reason: str, damage: str = "") -> None:
        """Refuse further appends."""
        self.failure = self.failure or reason
        self.damage = self.damage or damage
