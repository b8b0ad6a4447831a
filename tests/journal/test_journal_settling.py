"""What is settled, what is to be sent again, and what is pruned."""

from __future__ import annotations

from pathlib import Path

from journal_world import (
    DAY_MS,
    NOW_MS,
    all_kept,
    all_unsettled,
    append,
    numbers,
    opened,
    require_sound,
    settle,
)

from sidecar.journal import JournalSettings, ProblemKind

HOUR_MS = 3_600_000


def test_settled_records_are_not_sent_again(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 10)
        settle(journal, 6)
        assert numbers(all_unsettled(journal)) == [7, 8, 9, 10]
        assert journal.unsettled_records == 4
        assert numbers(all_kept(journal)) == list(range(1, 11))
        assert [record.is_settled for record in all_kept(journal)] == [True] * 6 + [False] * 4
    with opened(tmp_path) as journal:
        assert journal.epochs()[0].settled_number == 6
        assert numbers(all_unsettled(journal)) == [7, 8, 9, 10]


def test_a_restored_database_brings_records_back(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 10)
        settle(journal, 10)
        journal.flush()
        settle(journal, 3)
        assert numbers(all_unsettled(journal)) == [4, 5, 6, 7, 8, 9, 10]
        require_sound(all_unsettled(journal))
    with opened(tmp_path) as journal:
        assert journal.unsettled_records == 7


def test_marks_beyond_the_end_and_of_unknown_epochs_settle_nothing_more(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 3)
        settle(journal, 99)
        journal.settle(journal.sidecar_id, "no such epoch", 1, NOW_MS)
        journal.settle("no such sidecar", journal.epoch, 1, NOW_MS)
        assert journal.epochs()[-1].settled_number == 3
        append(journal)
        assert numbers(all_unsettled(journal)) == [4]


def test_counting_up_to_a_position(tmp_path: Path) -> None:
    for count in (5, 4):
        with opened(tmp_path) as journal:
            append(journal, count)
    with opened(tmp_path) as journal:
        append(journal, 3)
        settle(journal, 2, epoch=0)
        settle(journal, 4, epoch=1)
        positions = [(0, 0), (0, 2), (0, 3), (0, 5), (0, 9), (1, 4), (2, 1), (2, 3), (9, 9)]
        counts = [journal.count_unsettled(position) for position in positions]
    assert counts == [0, 0, 1, 3, 3, 3, 4, 6, 6]


def test_settled_records_are_kept_for_a_day(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 300)
        settle(journal, 100)
        settle(journal, 200, now_ms=NOW_MS + HOUR_MS)
        journal.flush()
        for later_ms, first in ((DAY_MS, 1), (DAY_MS + 60_000, 101), (DAY_MS + 2 * HOUR_MS, 201)):
            journal.prune(NOW_MS + later_ms)
            journal.flush()
            assert numbers(all_kept(journal)) == list(range(first, 301))
        require_sound(all_unsettled(journal))
        journal.prune(NOW_MS + 1000 * DAY_MS)
        journal.flush()
        assert numbers(all_kept(journal)) == list(range(201, 301))


def test_when_records_were_settled_outlives_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 20)
        settle(journal, 10)
        journal.flush()
        settle(journal, 20, now_ms=NOW_MS + HOUR_MS)
    with opened(tmp_path, now_ms=NOW_MS + 2 * HOUR_MS) as journal:
        journal.prune(NOW_MS + DAY_MS + 60_000)
        journal.flush()
        assert numbers(all_kept(journal)) == list(range(11, 21))


def test_a_lowered_mark_starts_the_day_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 20)
        settle(journal, 20)
        settle(journal, 5, now_ms=NOW_MS + HOUR_MS)
        settle(journal, 20, now_ms=NOW_MS + 2 * HOUR_MS)
        journal.flush()
        journal.prune(NOW_MS + DAY_MS + 60_000)
        journal.flush()
        assert numbers(all_kept(journal)) == list(range(1, 21))


def test_an_epoch_goes_with_its_last_record(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 10)
        first = journal.epoch
    with opened(tmp_path) as journal:
        append(journal, 5)
        settle(journal, 10, epoch=0)
        journal.flush()
        journal.prune(NOW_MS + 2 * DAY_MS)
        journal.flush()
        assert [view.epoch for view in journal.epochs()] == [journal.epoch]
        assert journal.predecessor == first
        # Positions keep their meaning while the process runs.
        assert journal.epoch_index == 1
        records = all_unsettled(journal)
        assert {record.epoch_index for record in records} == {1}
        assert journal.read_at((1, 5)) == records[-1].payload


def test_a_pruned_current_epoch_goes_on_where_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 10)
        settle(journal, 10)
        journal.flush()
        journal.prune(NOW_MS + 2 * DAY_MS)
        journal.flush()
        assert all_kept(journal) == []
        append(journal, 2)
        assert numbers(all_unsettled(journal)) == [11, 12]
    with opened(tmp_path) as journal:
        assert (journal.epochs()[0].last_number, journal.unsettled_records) == (12, 2)
        assert journal.problems == ()


def test_an_older_epoch_that_is_not_settled_keeps_newer_ones_in_place(tmp_path: Path) -> None:
    for _ in range(3):
        with opened(tmp_path) as journal:
            append(journal, 4)
    with opened(tmp_path) as journal:
        settle(journal, 4, epoch=1)
        journal.flush()
        journal.prune(NOW_MS + 2 * DAY_MS)
        journal.flush()
    with opened(tmp_path) as journal:
        views = [(view.last_number, view.settled_number) for view in journal.epochs()]
        assert views == [(4, 0), (4, 4), (4, 0), (0, 0)]
        require_sound(all_unsettled(journal))
        assert [r.epoch_index for r in all_unsettled(journal)] == [0] * 4 + [2] * 4


def test_room_runs_out_of_settled_records_first(tmp_path: Path) -> None:
    settings = JournalSettings(bytes_max=1 << 20, keep_answers_ms=0)
    with opened(tmp_path, settings) as journal:
        for _ in range(12):
            for _ in range(20):
                journal.append(b"x" * 10_000, b"", NOW_MS + journal.next_number)
            settle(journal, journal.next_number - 5)
            journal.flush()
        assert journal.bytes_used < settings.bytes_max * 0.8
        kept = numbers(all_kept(journal))
        # No time was given to prune by; the newest are kept as long as there is room.
        assert kept == list(range(kept[0], 241))
        assert len(kept) > 40
        assert journal.unsettled_records == 4


def test_pruned_records_that_are_asked_for_again_come_as_lost(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 30)
        settle(journal, 20)
        journal.flush()
        journal.prune(NOW_MS + 2 * DAY_MS)
        journal.flush()
        settle(journal, 15)
        records = all_unsettled(journal, limit=3)
        assert numbers(records) == list(range(16, 31))
        assert [r.number for r in records if r.is_lost] == [16, 17, 18, 19, 20]
        require_sound([record for record in records if not record.is_lost])
    with opened(tmp_path) as journal:
        assert [problem.kind for problem in journal.problems] == [ProblemKind.LOST_RECORDS]
        assert "5 unsettled records" in journal.problems[0].detail
        assert "16 to 20" in journal.problems[0].detail
