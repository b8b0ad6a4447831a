"""What the journal's tests share: a directory, records whose content follows from their place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.journal import START, DataDirectory, Journal, JournalSettings, StoredRecord

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
SETTINGS = JournalSettings()
BYTES_PER_READ = 1 << 20


@contextmanager
def opened(
    path: Path,
    settings: JournalSettings = SETTINGS,
    *,
    now_ms: int = NOW_MS,
    clean: bool = True,
    boot_id: str = "boot-1",
) -> Iterator[Journal]:
    with DataDirectory(path, now_ms) as directory:
        journal = Journal.open(directory, settings, boot_id, now_ms)
        try:
            yield journal
        finally:
            journal.close(clean=clean)


def payload_for(epoch: str, number: int, *, large_every: int = 17) -> bytes:
    """Return the content that a record has: about 150 bytes, now and then some pages."""
    seed = hashlib.sha256(f"{epoch}:{number}".encode()).digest()
    return seed * (300 if number % large_every == 0 else 5)


def digest_of(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()


def append(journal: Journal, count: int = 1, now_ms: int = NOW_MS) -> None:
    for _ in range(count):
        payload = payload_for(journal.epoch, journal.next_number)
        expected = journal.next_number
        assert journal.append(payload, digest_of(payload), now_ms) == expected


def settle(journal: Journal, number: int, *, epoch: int = -1, now_ms: int = NOW_MS) -> None:
    view = journal.epochs()[epoch]
    journal.settle(view.sidecar_id, view.epoch, number, now_ms)


def all_unsettled(journal: Journal, limit: int = 100) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    after = START
    while records := journal.read_unsettled(after, limit, BYTES_PER_READ):
        found += records
        after = (records[-1].epoch_index, records[-1].number)
    return found


def all_kept(journal: Journal) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    after = START
    while records := journal.read_after(after, 100, BYTES_PER_READ):
        found += records
        after = (records[-1].epoch_index, records[-1].number)
    return found


def require_sound(records: list[StoredRecord]) -> None:
    for record in records:
        assert not record.is_lost
        assert record.payload == payload_for(record.epoch, record.number)
        assert record.digest == digest_of(record.payload)


def numbers(records: list[StoredRecord]) -> list[int]:
    return [record.number for record in records]


def set_aside(path: Path) -> list[str]:
    return sorted(found.name for found in path.glob("corrupt-*"))


def flip(path: Path, at: int, count: int = 1) -> None:
    """Change bytes of a file; a negative place counts from its end."""
    data = bytearray(path.read_bytes())
    start = at if at >= 0 else len(data) + at
    for place in range(start, start + count):
        data[place] ^= 0xFF
    path.write_bytes(data)
