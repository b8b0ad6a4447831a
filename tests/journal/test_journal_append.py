"""Appending and reading back: numbers, room, time, power loss settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal_world import (
    NOW_MS,
    all_kept,
    all_unsettled,
    append,
    numbers,
    opened,
    require_sound,
    settle,
)

from sidecar.journal import JournalSettings
from weighbridge.rules.errors import (
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)

SMALL = JournalSettings(bytes_max=1 << 20, write_ahead_bytes=1 << 20)


def test_numbers_start_at_one_in_each_epoch(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        assert journal.next_number == 1
        append(journal, 40)
        first = journal.epoch
    with opened(tmp_path) as journal:
        assert journal.next_number == 1
        assert journal.epoch != first
        append(journal, 3)
        records = all_unsettled(journal, limit=7)
    require_sound(records)
    assert numbers(records) == [*range(1, 41), *range(1, 4)]
    assert [record.epoch_index for record in records] == [0] * 40 + [1] * 3


@pytest.mark.parametrize("payload", [b"", b"\0", b"x" * 1_500_000])
@pytest.mark.parametrize("digest", [b"", b"d" * 64])
def test_any_bytes_come_back(tmp_path: Path, payload: bytes, digest: bytes) -> None:
    with opened(tmp_path, clean=False) as journal:
        journal.append(payload, digest, NOW_MS)
    with opened(tmp_path) as journal:
        (record,) = all_unsettled(journal)
        assert (record.payload, record.digest) == (payload, digest)
        assert record.written_at_ms == NOW_MS
        assert journal.read_at((0, 1)) == payload


def test_a_read_is_bounded_in_records_and_bytes(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for _ in range(10):
            journal.append(b"x" * 1000, b"", NOW_MS)
        assert numbers(journal.read_unsettled((0, 3), 4, 1 << 20)) == [4, 5, 6, 7]
        assert numbers(journal.read_unsettled((0, 3), 100, 2500)) == [4, 5]
        assert numbers(journal.read_after((0, 9), 100, 1)) == [10]
        assert journal.read_unsettled((0, 10), 100, 1 << 20) == []


def test_what_was_never_written_is_not_found(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 2)
        for position in ((0, 0), (0, 3), (1, 1)):
            with pytest.raises(NotFoundError, match="not kept"):
                journal.read_at(position)


def test_a_full_journal_refuses_before_it_writes(tmp_path: Path) -> None:
    with opened(tmp_path, SMALL) as journal:
        while journal.has_room(5000):
            journal.append(b"x" * 5000, b"", NOW_MS)
        last = journal.next_number - 1
        with pytest.raises(ResourceExhaustedError, match="raise journal_bytes_max"):
            journal.append(b"x" * 5000, b"", NOW_MS)
        assert journal.next_number == last + 1
        assert journal.bytes_used <= SMALL.bytes_max
        assert not journal.failure
        # Settled records make room, which is all that is asked of an operator.
        settle(journal, last)
        journal.flush()
        journal.prune(NOW_MS + 1)
        journal.flush()
        # Not before answers to idempotency keys may be forgotten.
        assert numbers(all_kept(journal)) == list(range(1, last + 1))
        journal.prune(NOW_MS + SMALL.keep_answers_ms + 1)
        journal.flush()
        assert journal.has_room(5000)
        append(journal)
    with opened(tmp_path, SMALL) as journal:
        assert numbers(all_unsettled(journal)) == [last + 1]


def test_room_is_counted_as_the_disk_counts_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 3000)
        estimated = journal.bytes_used
        journal.flush()
        assert 0.5 < journal.bytes_used / estimated < 2
        measured = journal.bytes_used
    assert (tmp_path / "journal.sqlite").stat().st_size == pytest.approx(measured, rel=0.05)


def test_records_lie_in_the_order_of_their_times(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        # A clock set back by a second does not reorder; one set back by a day was wrong before.
        for at_ms in (NOW_MS, NOW_MS - 1000, NOW_MS + 5, NOW_MS - 86_400_000):
            append(journal, now_ms=at_ms)
        written = [record.written_at_ms for record in all_kept(journal)]
    assert written == [NOW_MS, NOW_MS, NOW_MS + 5, NOW_MS - 86_400_000]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_the_position_before_a_time(tmp_path: Path, count: int) -> None:
    for _ in range(2):
        with opened(tmp_path) as journal:
            for number in range(count):
                append(journal, now_ms=NOW_MS + journal.epoch_index * 1000 + number * 10)
    with opened(tmp_path) as journal:
        records = all_kept(journal)
        for at_ms in range(NOW_MS - 5, NOW_MS + 1600, 45):
            after = journal.position_before(at_ms)
            later = [r for r in records if r.written_at_ms >= at_ms]
            found = [r for r in records if (r.epoch_index, r.number) > after]
            assert found == later


def test_each_append_is_synced_where_no_power_loss_may_cost_anything(tmp_path: Path) -> None:
    with opened(tmp_path, JournalSettings(fsync_interval_ms=0), clean=False) as journal:
        append(journal, 5)
        assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with opened(tmp_path, JournalSettings(fsync_interval_ms=0)) as journal:
        require_sound(all_unsettled(journal))
        assert journal.unsettled_records == 5


def test_the_log_stays_short(tmp_path: Path) -> None:
    settings = JournalSettings(write_ahead_bytes=1 << 20)
    log = tmp_path / "journal.sqlite-wal"
    with opened(tmp_path, settings) as journal:
        lengths = []
        for _ in range(20):
            append(journal, 300)
            # What the upkeep thread does at its interval.
            journal.flush()
            lengths.append(log.stat().st_size)
        # About four times that much was appended.
        assert max(lengths) < 5 * settings.write_ahead_bytes
        require_sound(all_unsettled(journal))


def test_a_disk_that_is_behind_refuses_before_it_writes(tmp_path: Path) -> None:
    settings = JournalSettings(write_ahead_bytes=1 << 20, fsync_interval_ms=3_600_000)
    with opened(tmp_path, settings) as journal:
        while journal._state.log_bytes <= settings.write_ahead_bytes_max:
            journal.append(b"x" * 5000, b"", NOW_MS)
        taken = journal.next_number - 1
        with pytest.raises(ResourceExhaustedError, match="on a faster one"):
            journal.append(b"x" * 5000, b"", NOW_MS)
        assert journal.next_number == taken + 1
        assert (tmp_path / "journal.sqlite-wal").stat().st_size < 12 << 20
        # The upkeep thread gets through.
        journal.flush()
        append(journal)
        assert numbers(all_kept(journal)) == list(range(1, taken + 2))


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal)
    with pytest.raises(UnavailableError, match="closed"):
        journal.append(b"x", b"", NOW_MS)
    with pytest.raises(UnavailableError):
        journal.read_at((0, 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bytes_max", 0),
        ("fsync_interval_ms", -1),
        ("write_ahead_bytes", 1),
        ("keep_settled_ms", -1),
    ],
)
def test_settings_that_cannot_be(name: str, value: int) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        JournalSettings(**{name: value})
