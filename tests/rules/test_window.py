"""Windows tile time in every zone, and turn when the rules say."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weighbridge.rules.window import (
    HOUR_MS,
    LIFETIME_BOUNDS,
    Period,
    Window,
    WindowBounds,
    WindowKind,
    window_bounds,
)

# Each has changed its clocks in a way that breaks simple arithmetic; the comment says how.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # midnight did not exist when summer time began
    "America/Havana",  # the hour after midnight happens twice
    "America/St_Johns",  # at 00:01 the clocks went back to 23:01 of the day before
    "Pacific/Apia",  # 30 December 2011 did not happen
    "Pacific/Kwajalein",  # 21 August 1993 did not happen
    "Asia/Kathmandu",  # moved by 15 minutes in 1986
    "Australia/Lord_Howe",  # summer time of half an hour
    "Asia/Pyongyang",  # moved by half an hour, back across midnight, in 2015
    "Africa/Monrovia",  # moved by 44.5 minutes in 1972
    "Pacific/Kiritimati",
    "Asia/Kolkata",
]
YEAR_1971_MS = 31_536_000_000
YEAR_2090_MS = 3_786_912_000_000

periods = st.sampled_from(list(Period))
zones = st.sampled_from(ZONES)
kinds = st.sampled_from([WindowKind.CALENDAR, WindowKind.ANNIVERSARY])
instants = st.integers(YEAR_1971_MS, YEAR_2090_MS)


def ms(local: str, zone: str = "UTC", fold: int = 0) -> int:
    aware = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(aware.timestamp() * 1000)


def local(at_ms: int | None, zone: str = "UTC") -> str:
    assert at_ms is not None
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).isoformat()


def window(kind: WindowKind, period: Period, zone: str = "UTC") -> Window:
    return Window(kind, period, zone, ZoneInfo(zone))


def calendar(period: Period, at: int, zone: str = "UTC") -> WindowBounds:
    return window_bounds(window(WindowKind.CALENDAR, period, zone), at, 0)


def anniversary(period: Period, at: int, anchor: int, zone: str = "UTC") -> WindowBounds:
    return window_bounds(window(WindowKind.ANNIVERSARY, period, zone), at, anchor)


@st.composite
def near_clock_changes(draw: st.DrawFn) -> tuple[str, int]:
    """Draw an instant within two days of one at which a zone changes its offset."""
    zone = draw(zones.filter(lambda name: name != "UTC"))
    at_ms = draw(instants)
    info = ZoneInfo(zone)
    for _ in range(400):
        before, after = (
            datetime.fromtimestamp((at_ms + step) / 1000, info).utcoffset()
            for step in (0, 24 * HOUR_MS)
        )
        if before != after:
            break
        at_ms += 24 * HOUR_MS
    return zone, at_ms + draw(st.integers(-48 * HOUR_MS, 48 * HOUR_MS))


def assert_tiles(turning: Window, at_ms: int, anchor_ms: int) -> None:
    """Assert that the window holds the instant, and that its neighbours meet it exactly."""
    here = window_bounds(turning, at_ms, anchor_ms)
    assert here.end_ms is not None
    assert here.start_ms <= at_ms < here.end_ms
    assert here.contains(at_ms)
    assert window_bounds(turning, here.start_ms, anchor_ms) == here
    assert window_bounds(turning, here.end_ms - 1, anchor_ms) == here
    assert window_bounds(turning, here.end_ms, anchor_ms).start_ms == here.end_ms
    assert window_bounds(turning, here.start_ms - 1, anchor_ms).end_ms == here.start_ms


@given(kinds, periods, zones, instants, instants)
def test_windows_tile_time(
    kind: WindowKind, period: Period, zone: str, at_ms: int, anchor_ms: int
) -> None:
    assert_tiles(window(kind, period, zone), at_ms, anchor_ms)


@given(kinds, periods, near_clock_changes(), instants)
@example(
    WindowKind.CALENDAR, Period.HOUR, ("Australia/Lord_Howe", ms("2024-04-06T15:10")), YEAR_1971_MS
)
@example(
    WindowKind.CALENDAR, Period.HOUR, ("Australia/Lord_Howe", ms("2024-10-05T15:40")), YEAR_1971_MS
)
@example(
    WindowKind.CALENDAR, Period.DAY, ("America/St_Johns", ms("2010-11-07T02:40")), YEAR_1971_MS
)
@example(
    WindowKind.CALENDAR, Period.MONTH, ("America/St_Johns", ms("1987-11-01T02:40")), YEAR_1971_MS
)
@example(WindowKind.CALENDAR, Period.DAY, ("Pacific/Apia", ms("2011-12-30T09:59")), YEAR_1971_MS)
@example(
    WindowKind.ANNIVERSARY,
    Period.DAY,
    ("Pacific/Apia", ms("2011-12-30T10:30")),
    ms("2011-12-01T00:00", "Pacific/Apia"),
)
def test_windows_tile_time_across_clock_changes(
    kind: WindowKind, period: Period, moment: tuple[str, int], anchor_ms: int
) -> None:
    zone, at_ms = moment
    assert_tiles(window(kind, period, zone), at_ms, anchor_ms)


@given(periods, zones, instants)
def test_an_anniversary_window_holds_its_anchor(period: Period, zone: str, anchor_ms: int) -> None:
    assert anniversary(period, anchor_ms, anchor_ms, zone).contains(anchor_ms)


@given(periods, instants)
def test_a_calendar_window_begins_at_a_round_local_time(period: Period, at_ms: int) -> None:
    start = datetime.fromtimestamp(calendar(period, at_ms).start_ms / 1000, UTC)

    assert (start.minute, start.second, start.microsecond) == (0, 0, 0)
    assert period is Period.HOUR or start.hour == 0
    assert period is not Period.WEEK or start.isoweekday() == 1
    assert period not in (Period.MONTH, Period.YEAR) or start.day == 1
    assert period is not Period.YEAR or start.month == 1


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.HOUR, "2024-02-29T13:00", "2024-02-29T14:00"),
        (Period.DAY, "2024-02-29T00:00", "2024-03-01T00:00"),
        (Period.WEEK, "2024-02-26T00:00", "2024-03-04T00:00"),
        (Period.MONTH, "2024-02-01T00:00", "2024-03-01T00:00"),
        (Period.YEAR, "2024-01-01T00:00", "2025-01-01T00:00"),
    ],
)
def test_calendar_windows_of_a_leap_day(period: Period, start: str, end: str) -> None:
    assert calendar(period, ms("2024-02-29T13:14")) == (ms(start), ms(end))


def test_a_calendar_month_turns_in_its_own_zone() -> None:
    at_ms = ms("2024-01-31T23:30")  # already February in Berlin

    assert calendar(Period.MONTH, at_ms, "Europe/Berlin").start_ms == ms("2024-01-31T23:00")
    assert calendar(Period.MONTH, at_ms).start_ms == ms("2024-01-01T00:00")


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25)])
def test_a_day_is_as_long_as_the_clocks_make_it(day: str, hours: int) -> None:
    bounds = calendar(Period.DAY, ms(f"{day}T12:00", "Europe/Berlin"), "Europe/Berlin")

    assert bounds.end_ms == bounds.start_ms + hours * HOUR_MS


def test_a_day_without_midnight_begins_after_the_gap() -> None:
    zone = "America/Sao_Paulo"
    before = calendar(Period.DAY, ms("2018-11-03T12:00", zone), zone)
    after = calendar(Period.DAY, ms("2018-11-04T12:00", zone), zone)

    assert local(after.start_ms, zone) == "2018-11-04T01:00:00-02:00"
    assert before.end_ms == after.start_ms
    assert local(after.end_ms, zone) == "2018-11-05T00:00:00-02:00"


def test_a_day_that_did_not_happen_has_no_window() -> None:
    zone = "Pacific/Apia"
    before = calendar(Period.DAY, ms("2011-12-29T12:00", zone), zone)

    assert local(before.end_ms, zone) == "2011-12-31T00:00:00+14:00"


def test_a_day_begins_once_where_midnight_comes_twice() -> None:
    """At 00:01 on the 7th the clocks went back to 23:01 on the 6th."""
    zone = "America/St_Johns"
    first_midnight = ms("2010-11-07T00:00", zone)
    evening_again = first_midnight + 30 * 60_000
    assert local(evening_again, zone) == "2010-11-06T23:30:00-03:30"

    bounds = calendar(Period.DAY, evening_again, zone)

    assert bounds == (first_midnight, ms("2010-11-08T00:00", zone))


def test_an_hour_that_comes_twice_is_two_windows() -> None:
    zone = "Europe/Berlin"
    first = calendar(Period.HOUR, ms("2024-10-27T02:30", zone), zone)
    second = calendar(Period.HOUR, ms("2024-10-27T02:30", zone, fold=1), zone)

    assert first.end_ms == second.start_ms
    assert second.end_ms == second.start_ms + HOUR_MS


def test_an_hour_ends_where_the_clocks_change_by_half_of_one() -> None:
    zone = "Australia/Lord_Howe"
    change = ms("2024-04-06T15:00")  # from 02:00 +11 to 01:30 +10:30

    assert calendar(Period.HOUR, change - 1, zone) == (change - HOUR_MS, change)
    assert calendar(Period.HOUR, change, zone) == (change, change + HOUR_MS // 2)


def test_an_hour_ends_where_the_clocks_change_within_it() -> None:
    zone = "America/St_Johns"
    midnight = ms("2010-11-07T00:00", zone)
    change = midnight + 60_000

    assert calendar(Period.HOUR, midnight, zone) == (midnight, change)
    assert calendar(Period.HOUR, change, zone) == (change, midnight + HOUR_MS)


def test_an_hour_of_a_zone_with_an_odd_offset_turns_at_its_local_hour() -> None:
    zone = "Asia/Kathmandu"
    bounds = calendar(Period.HOUR, ms("2024-05-01T10:20", zone), zone)

    assert local(bounds.start_ms, zone) == "2024-05-01T10:00:00+05:45"


def test_short_months_do_not_move_later_ones() -> None:
    anchor = ms("2023-01-31T09:00")
    turns = [anchor]
    for _ in range(5):
        end_ms = anniversary(Period.MONTH, turns[-1], anchor).end_ms
        assert end_ms is not None
        turns.append(end_ms)

    assert [local(turn)[:16] for turn in turns] == [
        "2023-01-31T09:00",
        "2023-02-28T09:00",
        "2023-03-31T09:00",
        "2023-04-30T09:00",
        "2023-05-31T09:00",
        "2023-06-30T09:00",
    ]


def test_a_month_from_the_thirty_first_turns_on_a_leap_day() -> None:
    bounds = anniversary(Period.MONTH, ms("2024-02-29T09:00"), ms("2023-12-31T09:00"))

    assert bounds == (ms("2024-02-29T09:00"), ms("2024-03-31T09:00"))


def test_a_year_from_a_leap_day_turns_on_the_last_of_february() -> None:
    anchor = ms("2024-02-29T00:00")

    assert anniversary(Period.YEAR, anchor, anchor).end_ms == ms("2025-02-28T00:00")
    assert anniversary(Period.YEAR, ms("2028-01-01T00:00"), anchor) == (
        ms("2027-02-28T00:00"),
        ms("2028-02-29T00:00"),
    )


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.HOUR, "2024-05-15T10:20", "2024-05-15T11:20"),
        (Period.DAY, "2024-05-14T12:20", "2024-05-15T12:20"),
        (Period.WEEK, "2024-05-08T12:20", "2024-05-15T12:20"),
        (Period.MONTH, "2024-05-01T12:20", "2024-06-01T12:20"),
        (Period.YEAR, "2024-05-01T12:20", "2025-05-01T12:20"),
    ],
)
def test_anniversary_windows_keep_the_anchors_time(period: Period, start: str, end: str) -> None:
    bounds = anniversary(period, ms("2024-05-15T10:30"), ms("2024-05-01T12:20"))

    assert bounds == (ms(start), ms(end))


def test_windows_before_the_anchor_exist() -> None:
    anchor = ms("2024-05-31T00:00")

    assert anniversary(Period.MONTH, ms("2024-02-10T00:00"), anchor) == (
        ms("2024-01-31T00:00"),
        ms("2024-02-29T00:00"),
    )


def test_an_anniversary_keeps_local_time_across_summer_time() -> None:
    zone = "Europe/Berlin"
    bounds = anniversary(
        Period.DAY, ms("2024-03-31T12:00", zone), ms("2024-03-01T08:00", zone), zone
    )

    assert local(bounds.start_ms, zone) == "2024-03-31T08:00:00+02:00"


def test_an_anniversary_that_comes_twice_in_a_day_turns_at_the_first() -> None:
    zone = "Europe/Berlin"
    again = ms("2024-10-27T02:10", zone, fold=1)
    bounds = anniversary(Period.DAY, again, ms("2024-10-01T02:30", zone), zone)

    assert local(bounds.start_ms, zone) == "2024-10-27T02:30:00+02:00"


def test_an_anniversary_in_a_gap_turns_at_its_end() -> None:
    zone = "Europe/Berlin"
    bounds = anniversary(
        Period.DAY, ms("2024-03-31T12:00", zone), ms("2024-03-01T02:30", zone), zone
    )

    assert local(bounds.start_ms, zone) == "2024-03-31T03:00:00+02:00"


@given(instants)
def test_a_lifetime_never_turns(at_ms: int) -> None:
    lifetime = Window(WindowKind.LIFETIME)

    assert window_bounds(lifetime, at_ms, 0) == LIFETIME_BOUNDS
    assert LIFETIME_BOUNDS.contains(at_ms)


def test_keys_name_windows_that_turn_together() -> None:
    assert Window(WindowKind.LIFETIME).key == "lifetime"
    assert window(WindowKind.CALENDAR, Period.MONTH).key == "calendar:month:UTC"
    assert (
        window(WindowKind.ANNIVERSARY, Period.DAY, "Asia/Kolkata").key
        == "anniversary:day:Asia/Kolkata"
    )
