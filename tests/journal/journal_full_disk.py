"""Fills a disk of limited size, makes room, and goes on. Run as a process: the limit is its own.

Argument: the directory. Prints what it saw as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from journal_world import NOW_MS, all_unsettled, append, numbers, require_sound

from sidecar.journal import DataDirectory, Journal, JournalSettings
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.logs import configure_logs

FILE_BYTES_MAX = 2 << 20


def limit(file_bytes: int) -> None:
    """Let no file of this process grow beyond a size: writes past it fail."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))


def append_until_refused(journal: Journal) -> str:
    for _ in range(100_000):
        before = journal.next_number
        try:
            append(journal)
        except UnavailableError as error:
            assert journal.next_number == before
            return str(error)
    raise AssertionError("the disk never filled up")


def main() -> None:
    configure_logs()
    directory = DataDirectory(Path(sys.argv[1]), NOW_MS)
    settings = JournalSettings(write_ahead_bytes=1 << 20)
    journal = Journal.open(directory, settings, "boot-1", NOW_MS)
    limit(FILE_BYTES_MAX)
    first = append_until_refused(journal)
    again = append_until_refused(journal)
    acknowledged = journal.next_number - 1
    recovered_while_full = 0
    while True:
        # The log is moved into the database, which makes room until that is full as well.
        try:
            journal.recover(NOW_MS)
        except UnavailableError:
            break
        recovered_while_full += 1
        append_until_refused(journal)
    on_full = journal.next_number - 1
    limit(resource.RLIM_INFINITY)
    journal.recover(NOW_MS)
    append(journal, 10)
    records = all_unsettled(journal)
    require_sound(records)
    said = {
        "first": first,
        "again": again,
        "acknowledged": acknowledged,
        "recovered_while_full": recovered_while_full,
        "on_full": on_full,
        "numbers": numbers(records),
        "problems": sorted({problem.kind.value for problem in journal.problems}),
    }
    journal.close()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
