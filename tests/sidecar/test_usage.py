"""used = total + own later usage, whatever order pushes and records come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.book import Units, UsageBook
from sidecar.core.usage import Position, PushedTotal
from tests.sidecar.gate_world import MONTH, START_MS, hard
from weighbridge.rules.catalog import Entitlement
from weighbridge.rules.window import window_bounds

KEY = ("", "calls")
ENTITLEMENT = Entitlement("calls", limits=(hard(10**9),))
BOUNDS = window_bounds(MONTH, START_MS, 0)

amounts = st.integers(0, 50)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("record"), amounts),
        st.tuples(st.just("other"), amounts),
        st.tuples(st.just("settle"), st.integers(0, 5)),
        st.tuples(st.just("push"), st.booleans()),
        st.tuples(st.just("look"), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_used_is_everything_settled_at_the_last_push_and_all_own_usage_since(
    script: list[tuple[str, int]],
) -> None:
    book = UsageBook()
    own: list[int] = []
    settled = 0
    others = 0
    known_total = 0
    known_included = 0
    for what, value in script:
        match what:
            case "record":
                own.append(value)
                book.record("acme", KEY, Position(0, len(own)), Units(START_MS, value))
            case "other":
                others += value
            case "settle":
                settled = min(settled + value, len(own))
            case "push":
                known_total = others + sum(own[:settled])
                known_included = settled
                totals = {KEY: [PushedTotal(MONTH.key, BOUNDS.start_ms, known_total)]}
                book.push("acme", totals, {0: settled}, is_whole=bool(value))
            case _:
                states, _ = book.open("acme", KEY).states(ENTITLEMENT, 0, START_MS)
                assert states[0].used == known_total + sum(own[known_included:])
    states, _ = book.open("acme", KEY).states(ENTITLEMENT, 0, START_MS)
    assert states[0].used == known_total + sum(own[known_included:])


def test_a_window_turns_and_usage_starts_from_zero() -> None:
    book = UsageBook()
    usage = book.open("acme", KEY)
    usage.states(ENTITLEMENT, 0, START_MS)
    book.record("acme", KEY, Position(0, 1), Units(START_MS, 7))
    assert BOUNDS.end_ms is not None
    states, _ = usage.states(ENTITLEMENT, 0, BOUNDS.end_ms - 1)
    assert states[0].used == 7
    states, _ = usage.states(ENTITLEMENT, 0, BOUNDS.end_ms)
    assert states[0].used == 0


def test_a_total_of_the_next_window_turns_the_window() -> None:
    book = UsageBook()
    usage = book.open("acme", KEY)
    usage.states(ENTITLEMENT, 0, START_MS)
    assert BOUNDS.end_ms is not None
    totals = {KEY: [PushedTotal(MONTH.key, BOUNDS.end_ms, 3)]}
    book.push("acme", totals, {}, is_whole=False)
    # This sidecar's own idea of now still lies in the old window; the control plane's rules.
    states, _ = usage.states(ENTITLEMENT, 0, BOUNDS.end_ms - 1)
    assert states[0].used == 3
    stale = {KEY: [PushedTotal(MONTH.key, BOUNDS.start_ms, 99)]}
    book.push("acme", stale, {}, is_whole=False)
    states, _ = usage.states(ENTITLEMENT, 0, BOUNDS.end_ms)
    assert states[0].used == 3


def test_usage_of_a_feature_without_limits_is_forgotten_once_settled() -> None:
    book = UsageBook()
    for number in range(1, 4):
        book.record("acme", KEY, Position(0, number), Units(START_MS, 1))
    book.settled({0: 2})
    assert book.has_own("acme")
    book.settled({0: 3})
    assert not book.has_own("acme")
