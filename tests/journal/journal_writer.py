"""Appends for ever and prints each number once it is acknowledged. Run as a process, to be killed.

Arguments: the directory, and the room in bytes.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from journal_world import NOW_MS, digest_of, payload_for

from sidecar.journal import DataDirectory, Journal, JournalSettings
from weighbridge.runtime.logs import configure_logs


def main() -> None:
    configure_logs()
    directory = DataDirectory(Path(sys.argv[1]), NOW_MS)
    # Short intervals and a short log, so that kills fall into syncs, checkpoints and pruning.
    settings = JournalSettings(
        bytes_max=int(sys.argv[2]), fsync_interval_ms=2, write_ahead_bytes=1 << 20
    )
    journal = Journal.open(directory, settings, "boot-1", NOW_MS)
    os.write(1, f"epoch {journal.epoch}\n".encode())
    for turn in itertools.count():
        payload = payload_for(journal.epoch, journal.next_number)
        number = journal.append(payload, digest_of(payload), NOW_MS + turn)
        os.write(1, b"%d\n" % number)
        if turn % 50 == 0:
            settled = max(0, number - 500)
            os.write(1, b"settled %d\n" % settled)
            journal.settle(journal.sidecar_id, journal.epoch, settled, NOW_MS)
            journal.prune(NOW_MS + 2 * 86_400_000)


if __name__ == "__main__":
    main()
