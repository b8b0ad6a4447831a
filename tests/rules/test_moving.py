"""Rolling windows and sessions against a model that keeps every event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.catalog import Limit, LimitKind
from weighbridge.rules.decision import LimitState, Reason, decide_metered
from weighbridge.rules.moving import (
    Sessions,
    bounds_of_use,
    bucket_leaves_ms,
    bucket_start_ms,
    buckets_bounds,
    is_moving,
    oldest_bucket_ms,
    units_left_ms,
)
from weighbridge.rules.window import (
    DAY_MS,
    HOUR_MS,
    LENGTH_MS_MAX,
    MINUTE_MS,
    Period,
    Window,
    WindowBounds,
    WindowKind,
    length_problem,
    length_text,
    parse_length,
)

NOW_MS = 1_790_000_000_000
lengths = st.integers(1, LENGTH_MS_MAX // MINUTE_MS).map(lambda minutes: minutes * MINUTE_MS)
short_lengths = st.sampled_from([MINUTE_MS, 7 * MINUTE_MS, HOUR_MS])
instants = st.integers(NOW_MS, NOW_MS + 10**12)


def rolling(length_ms: int, size: int) -> Limit:
    window = Window(WindowKind.ROLLING, length_ms=length_ms)
    return Limit("rolling", LimitKind.HARD, size, window)


@given(lengths, instants)
def test_a_bucket_counts_until_one_length_after_its_end(length_ms: int, now_ms: int) -> None:
    start_ms = bucket_start_ms(length_ms, now_ms)
    size_ms = length_ms // 60
    assert size_ms >= 1_000
    assert start_ms <= now_ms < start_ms + size_ms
    leaves_ms = bucket_leaves_ms(length_ms, start_ms)
    assert leaves_ms == start_ms + size_ms + length_ms
    assert oldest_bucket_ms(length_ms, leaves_ms - 1) == start_ms
    assert oldest_bucket_ms(length_ms, leaves_ms) > start_ms


@st.composite
def calls(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Draw a length, and calls with the time since the one before and their amounts."""
    length_ms = draw(short_lengths)
    step = st.integers(0, length_ms // 3)
    return length_ms, draw(st.lists(st.tuples(step, st.integers(1, 5)), max_size=60))


@given(calls(), st.integers(1, 12))
def test_no_span_of_one_length_admits_more_than_the_limit(
    written: tuple[int, list[tuple[int, int]]], size: int
) -> None:
    length_ms, asked = written
    limit = rolling(length_ms, size)
    admitted: list[tuple[int, int]] = []
    now_ms = NOW_MS
    for step_ms, amount in asked:
        now_ms += step_ms
        verdict = decide_metered([state_of(limit, admitted, now_ms)], amount, now_ms)
        if verdict.allowed:
            admitted.append((now_ms, amount))
        elif amount <= size:
            assert_passes_exactly_at(limit, admitted, amount, now_ms)
        else:
            assert verdict.retry_after_ms is None
    for end_ms, _ in admitted:
        assert sum(a for at_ms, a in admitted if end_ms - length_ms < at_ms <= end_ms) <= size


def assert_passes_exactly_at(
    limit: Limit, admitted: list[tuple[int, int]], amount: int, now_ms: int
) -> None:
    verdict = decide_metered([state_of(limit, admitted, now_ms)], amount, now_ms)
    assert verdict.reason is Reason.LIMIT_REACHED
    assert verdict.retry_after_ms is not None
    then_ms = now_ms + verdict.retry_after_ms
    for at_ms, is_allowed in ((then_ms, True), (then_ms - 1, False)):
        state = state_of(limit, admitted, at_ms)
        assert decide_metered([state], amount, at_ms).allowed is is_allowed
    # Early by nothing, late by at most one bucket.
    length_ms = limit.window.length_ms or 0
    in_span = sum(a for at_ms, a in admitted if at_ms > then_ms - length_ms)
    assert in_span + amount <= (limit.limit or 0)
    before_ms = then_ms - 1 - length_ms // 60
    in_span = sum(a for at_ms, a in admitted if at_ms > before_ms - length_ms)
    assert in_span + amount > (limit.limit or 0) or before_ms < now_ms


def state_of(limit: Limit, admitted: list[tuple[int, int]], now_ms: int) -> LimitState:
    length_ms = limit.window.length_ms or 0
    buckets: dict[int, int] = {}
    for at_ms, amount in admitted:
        start_ms = bucket_start_ms(length_ms, at_ms)
        if now_ms < bucket_leaves_ms(length_ms, start_ms):
            buckets[start_ms] = buckets.get(start_ms, 0) + amount
    bounds = buckets_bounds(length_ms, buckets)
    return LimitState(limit, bounds, sum(buckets.values()), buckets)


def test_of_limits_that_refuse_the_one_that_refuses_longest_is_told() -> None:
    day = Limit("day", LimitKind.HARD, 1, Window(WindowKind.CALENDAR, Period.DAY))
    rolled = state_of(rolling(HOUR_MS, 5), [(NOW_MS, 5)], NOW_MS)
    turning = LimitState(day, WindowBounds(NOW_MS, NOW_MS + 2 * HOUR_MS), 1)
    verdict = decide_metered([rolled, turning], 1, NOW_MS)
    assert verdict.state == turning
    session = Limit("s", LimitKind.HARD, 3, Window(WindowKind.SESSION, length_ms=HOUR_MS))
    closed = LimitState(session, None, 0)
    assert decide_metered([closed, turning], 4, NOW_MS).state == closed
    assert decide_metered([closed, turning], 4, NOW_MS).retry_after_ms is None


def test_units_leave_bucket_by_bucket() -> None:
    minute = MINUTE_MS
    buckets = {NOW_MS: 3, NOW_MS - 20_000: 2}
    assert units_left_ms(minute, buckets, 2) == NOW_MS + 41_000
    assert units_left_ms(minute, buckets, 3) == NOW_MS + 61_000
    assert units_left_ms(minute, buckets, 6) is None
    assert buckets_bounds(minute, {}) is None


@st.composite
def settled_late(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Draw a length, and usage in the order it is settled: when that is, when it happened."""
    length_ms = draw(short_lengths)
    now_ms, settled = NOW_MS, []
    for _ in range(draw(st.integers(1, 25))):
        now_ms += draw(st.integers(0, length_ms))
        settled.append((now_ms, now_ms - draw(st.integers(0, length_ms - 1))))
    return length_ms, settled


def sessions_of(length_ms: int, instants: list[int]) -> list[int]:
    """Walk all events in their order: what a model does that knows them all."""
    starts: list[int] = []
    for at_ms in sorted(instants):
        if not starts or at_ms >= starts[-1] + length_ms:
            starts.append(at_ms)
    return starts


@given(settled_late())
def test_usage_settled_within_a_length_gives_the_sessions_of_all_events(
    written: tuple[int, list[tuple[int, int]]],
) -> None:
    length_ms, settled = written
    sessions = Sessions(length_ms)
    units: dict[int, int] = {}
    for index, (now_ms, at_ms) in enumerate(settled):
        start_ms, moved_ms = sessions.place(at_ms, now_ms)
        if moved_ms is not None:
            units[start_ms] = units.pop(moved_ms)
        units[start_ms] = units.get(start_ms, 0) + 1
        known = [at_ms for _, at_ms in settled[: index + 1]]
        assert sessions.starts == sessions_of(length_ms, known)
        assert sorted(units) == sessions.starts
        for each in known:
            found = sessions.find(each)
            assert found is not None
            assert found <= each < found + length_ms
    assert sum(units.values()) == len(settled)


@given(short_lengths, st.lists(st.integers(-10, 10), max_size=12))
def test_what_comes_whole_lengths_late_moves_no_session(length_ms: int, places: list[int]) -> None:
    sessions = Sessions(length_ms, [NOW_MS])
    now_ms = NOW_MS + length_ms - 1
    for place in places:
        at_ms = NOW_MS - length_ms + place * length_ms // 3
        if at_ms <= now_ms - length_ms:
            start_ms, moved_ms = sessions.place(at_ms, now_ms)
            assert moved_ms is None
            assert start_ms <= at_ms < start_ms + length_ms
    assert NOW_MS in sessions.starts
    assert sessions.open_at(now_ms) == (NOW_MS, NOW_MS + length_ms)


def test_a_session_is_open_until_its_end_and_one_ahead_is_open_too() -> None:
    sessions = Sessions(HOUR_MS)
    assert sessions.open_at(NOW_MS) is None
    assert sessions.find(NOW_MS) is None
    # Usage ahead of the clock opens one now.
    assert sessions.place(NOW_MS + 5, NOW_MS) == (NOW_MS, None)
    assert sessions.open_at(NOW_MS + HOUR_MS - 1) == (NOW_MS, NOW_MS + HOUR_MS)
    assert sessions.open_at(NOW_MS + HOUR_MS) is None
    assert sessions.open_at(NOW_MS - 1) == (NOW_MS, NOW_MS + HOUR_MS)
    # A late event that the session contains, had it been known, is its first.
    assert sessions.place(NOW_MS - 10, NOW_MS + 1) == (NOW_MS - 10, NOW_MS)
    assert sessions.starts == [NOW_MS - 10]


def test_the_first_use_gives_a_window_its_bounds() -> None:
    session = Window(WindowKind.SESSION, length_ms=HOUR_MS)
    assert bounds_of_use(session, NOW_MS + 7) == (NOW_MS + 7, NOW_MS + 7 + HOUR_MS)
    rolled = Window(WindowKind.ROLLING, length_ms=HOUR_MS)
    start_ms = bucket_start_ms(HOUR_MS, NOW_MS)
    assert bounds_of_use(rolled, NOW_MS) == (start_ms, start_ms + HOUR_MS + MINUTE_MS)


@pytest.mark.parametrize(
    ("kind", "length_ms", "key", "text"),
    [
        (WindowKind.ROLLING, 5 * HOUR_MS, "rolling:18000000", "rolling:5h"),
        (WindowKind.SESSION, DAY_MS + HOUR_MS + MINUTE_MS, "session:90060000", "session:1d1h1m"),
    ],
)
def test_keys_tell_lengths_apart(kind: WindowKind, length_ms: int, key: str, text: str) -> None:
    window = Window(kind, length_ms=length_ms)
    assert (window.key, window.text) == (key, text)
    assert is_moving(window.key)
    month = Window(WindowKind.CALENDAR, Period.MONTH)
    assert month.text == month.key
    assert not is_moving(month.key)


@given(lengths)
def test_lengths_are_read_as_they_are_written(length_ms: int) -> None:
    assert length_problem(length_ms) is None
    assert parse_length(length_text(length_ms)) == length_ms


@pytest.mark.parametrize("text", ["", "5", "h", "0m", "367d", "5h5h", "1m2h", "5 h", "-1h"])
def test_other_words_are_no_lengths(text: str) -> None:
    assert parse_length(text) is None


@pytest.mark.parametrize("length_ms", [0, -MINUTE_MS, 1, 90_001, LENGTH_MS_MAX + MINUTE_MS])
def test_lengths_out_of_bounds_are_told(length_ms: int) -> None:
    assert length_problem(length_ms) is not None
