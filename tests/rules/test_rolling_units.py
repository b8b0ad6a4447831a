"""Units of a rolling pool against a model that keeps every unit that was spent."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.rules.moving import bucket_leaves_ms, bucket_start_ms, oldest_bucket_ms
from weighbridge.rules.rolling import RollingUnits
from weighbridge.rules.window import HOUR_MS, MINUTE_MS

NOW_MS = 1_790_000_000_000
lengths = st.sampled_from([MINUTE_MS, 7 * MINUTE_MS, HOUR_MS])


@st.composite
def spending(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]]]:
    """Draw a length, and steps: how the clock moves, how old what is spent is, and its units."""
    length_ms = draw(lengths)
    step = st.integers(-length_ms // 4, length_ms)
    age = st.integers(-length_ms // 60, 2 * length_ms)
    return length_ms, draw(st.lists(st.tuples(step, age, st.integers(-1, 5)), max_size=40))


@given(spending())
def test_what_has_come_back_stays_back_and_nothing_comes_back_early(
    drawn: tuple[int, list[tuple[int, int, int]]],
) -> None:
    length_ms, steps = drawn
    rolling = RollingUnits(length_ms, {}, 0)
    rolling.roll(NOW_MS)
    spent: list[tuple[int, int]] = []
    now_ms = furthest_ms = NOW_MS
    for moved_ms, age_ms, units in steps:
        now_ms += moved_ms
        furthest_ms = max(furthest_ms, now_ms)
        rolling.roll(now_ms)
        assert rolling.rolled_ms == oldest_bucket_ms(length_ms, furthest_ms)
        at_ms = now_ms - age_ms
        rolling.spend(at_ms, units, now_ms)
        if units > 0 and at_ms >= oldest_bucket_ms(length_ms, now_ms):
            spent.append((max(bucket_start_ms(length_ms, at_ms), rolling.rolled_ms), units))
        left = [(start_ms, units) for start_ms, units in spent if start_ms >= rolling.rolled_ms]
        assert rolling.total == sum(units for _, units in left)
        leaves = [bucket_leaves_ms(length_ms, start_ms) for start_ms, _ in left]
        assert rolling.leaves_ms == min(leaves, default=None)
        # Of one span of a length, nothing has left.
        assert all(leaves_ms > furthest_ms for leaves_ms in leaves)


@given(spending(), st.integers(1, 30))
def test_so_many_units_have_left_when_it_says(
    drawn: tuple[int, list[tuple[int, int, int]]], wanted: int
) -> None:
    length_ms, steps = drawn
    rolling = RollingUnits(length_ms, {}, 0)
    for _, age_ms, units in steps:
        rolling.spend(NOW_MS - age_ms, units, NOW_MS)
    total, leaves_ms = rolling.total, rolling.left_ms(wanted)
    if leaves_ms is None:
        assert total < wanted
        return
    rolling.roll(leaves_ms - 1)
    assert total - rolling.total < wanted
    rolling.roll(leaves_ms)
    assert total - rolling.total >= wanted


buckets = st.dictionaries(st.integers(0, 8), st.integers(0, 5), max_size=8)


@given(buckets, buckets, st.integers(0, 4))
def test_what_is_counted_is_spent_from_any_bucket_on(
    spent: Mapping[int, int], counted: Mapping[int, int], rolled: int
) -> None:
    oldest_ms = bucket_start_ms(HOUR_MS, NOW_MS)
    start_of = {number: oldest_ms + number * MINUTE_MS for number in range(9)}
    rolled_ms = start_of[rolled]
    in_pool = {start_of[n]: units for n, units in spent.items() if n >= rolled and units}
    rolling = RollingUnits(HOUR_MS, in_pool, rolled_ms)
    in_totals = {start_of[n]: units for n, units in counted.items()}
    rolling.cover(in_totals)
    lacking = 0
    for start_ms in sorted((ms for ms in start_of.values() if ms >= rolled_ms), reverse=True):
        spent_since, counted_since = _since(in_pool, start_ms), _since(in_totals, start_ms)
        lacking = max(lacking, counted_since - spent_since)
        assert _since(rolling.units, start_ms) == spent_since + lacking >= counted_since
    assert all(units >= in_pool.get(start_ms, 0) for start_ms, units in rolling.units.items())
    assert all(start_ms >= rolled_ms for start_ms in rolling.units)


def _since(units: Mapping[int, int], start_ms: int) -> int:
    return sum(n for at_ms, n in units.items() if at_ms >= start_ms)
