"""Who may speak for a sidecar: starts in a line, and data directories that were copied."""

from __future__ import annotations

from metered import Metered, entry, record

from control_plane.metering.epochs import EpochClaim, EpochRefused, register_epoch
from control_plane.metering.records import EpochKey, RecordMark


def claim(epoch: str, predecessor: str = "", *named: EpochKey, sidecar: str = "sc-1") -> EpochClaim:
    return EpochClaim(sidecar, epoch, predecessor, "boot-1", named)


def say_hello(metered: Metered, made: EpochClaim) -> tuple[RecordMark, ...] | EpochRefused:
    metered.now_ms += 1
    with metered.database.writing() as connection:
        return register_epoch(connection, made, metered.now_ms)


def test_a_hello_is_told_what_is_settled_of_each_epoch_it_names(metered: Metered) -> None:
    say_hello(metered, claim("e1"))
    metered.settle(record(1, entry()), record(2, entry()))

    settled = say_hello(metered, claim("e2", "e1", EpochKey("sc-1", "e1"), EpochKey("sc-0", "x")))

    assert settled == (
        RecordMark("sc-1", "e1", 2),
        RecordMark("sc-0", "x", 0),
        RecordMark("sc-1", "e2", 0),
    )


def test_an_epoch_that_comes_back_goes_on(metered: Metered) -> None:
    say_hello(metered, claim("e1"))
    metered.settle(record(1, entry()))

    assert say_hello(metered, claim("e1")) == (RecordMark("sc-1", "e1", 1),)


def test_a_second_successor_of_an_epoch_is_refused(metered: Metered) -> None:
    say_hello(metered, claim("e1"))
    say_hello(metered, claim("e2", "e1"))

    refused = say_hello(metered, claim("copy", "e1"))

    assert isinstance(refused, EpochRefused)
    assert "epoch e2 already follows epoch e1" in refused.detail
    assert isinstance(say_hello(metered, claim("copy", "e1")), EpochRefused)
    # The sound one goes on.
    assert say_hello(metered, claim("e2", "e1")) == (RecordMark("sc-1", "e2", 0),)


def test_a_second_first_start_is_refused(metered: Metered) -> None:
    say_hello(metered, claim("e1"))

    assert isinstance(say_hello(metered, claim("other")), EpochRefused)


def test_records_of_a_refused_epoch_settle_under_their_own_numbers(metered: Metered) -> None:
    say_hello(metered, claim("e1"))
    say_hello(metered, claim("e2", "e1"))
    say_hello(metered, claim("copy", "e1"))
    own = EpochKey("sc-1", "copy")

    settled = say_hello(metered, claim("first", "", own, sidecar="sc-new"))
    assert settled == (RecordMark("sc-1", "copy", 0), RecordMark("sc-new", "first", 0))
    assert metered.settle(record(1, entry(), epoch="copy")).marks == {own: 1}


def test_copies_that_started_again_unseen_are_told_apart_when_one_comes_back(
    metered: Metered,
) -> None:
    say_hello(metered, claim("e1"))
    say_hello(metered, claim("e3", "e2"))
    say_hello(metered, claim("e3-copy", "e2-copy"))

    assert isinstance(say_hello(metered, claim("e3", "e2")), EpochRefused)
    assert say_hello(metered, claim("e3-copy", "e2-copy")) == (RecordMark("sc-1", "e3-copy", 0),)


def test_a_copy_taken_while_the_original_runs_is_told_apart(metered: Metered) -> None:
    say_hello(metered, claim("e1"))
    say_hello(metered, claim("copy", "e1"))

    assert isinstance(say_hello(metered, claim("e1")), EpochRefused)


def test_starts_are_told_apart_where_the_clock_was_stepped_back(metered: Metered) -> None:
    say_hello(metered, claim("e1"))
    metered.now_ms -= 1_000_000
    say_hello(metered, claim("e2", "e1"))

    assert say_hello(metered, claim("e2", "e1")) == (RecordMark("sc-1", "e2", 0),)
    assert isinstance(say_hello(metered, claim("e1")), EpochRefused)


def test_an_epoch_that_only_sent_records_takes_no_place_in_the_line(metered: Metered) -> None:
    say_hello(metered, claim("e1"))
    metered.settle(record(1, entry(), epoch="e2"))

    named = EpochKey("sc-1", "e2")
    assert say_hello(metered, claim("e3", "e2", named)) == (
        RecordMark("sc-1", "e2", 1),
        RecordMark("sc-1", "e3", 0),
    )
    assert say_hello(metered, claim("e3", "e2")) == (RecordMark("sc-1", "e3", 0),)
