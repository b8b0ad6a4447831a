"""Rolling windows and sessions over several sidecars, against a model that keeps every event.

The control plane's side is its own arithmetic (`Parts`), without the database.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.metering.moving import BucketParts, Parts, SessionParts
from sidecar.core.book import Units, UsageBook
from sidecar.core.usage import Position, PushedTotal
from tests.sidecar.gate_world import DAY, START_MS, Driver, customer, hard, make_gate
from weighbridge.rules.catalog import (
    Catalog,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    PlanVersion,
)
from weighbridge.rules.decision import LimitState, Reason
from weighbridge.rules.window import HOUR_MS, MINUTE_MS, Window, WindowBounds, WindowKind

LENGTH_MS = 60 * MINUTE_MS
KEY = ("", "calls")
ROLLING = Window(WindowKind.ROLLING, length_ms=LENGTH_MS)
SESSION = Window(WindowKind.SESSION, length_ms=LENGTH_MS)
LIMITS = (
    Limit("rolling", LimitKind.HARD, 10**9, ROLLING),
    Limit("day", LimitKind.HARD, 10**9, DAY),
    Limit("session", LimitKind.HARD, 10**9, SESSION),
)
ENTITLEMENT = Entitlement("calls", limits=LIMITS)

Events = list[tuple[int, int]]


def rolling_used(events: Events, now_ms: int) -> int:
    bucket_ms = LENGTH_MS // 60
    return sum(a for at, a in events if now_ms < at - at % bucket_ms + bucket_ms + LENGTH_MS)


def session_used(events: Events, now_ms: int) -> tuple[WindowBounds | None, int]:
    start_ms, used = None, 0
    for at_ms, amount in sorted(events):
        if start_ms is None or at_ms >= start_ms + LENGTH_MS:
            start_ms, used = at_ms, 0
        used += amount
    if start_ms is None or now_ms >= start_ms + LENGTH_MS:
        return None, 0
    return WindowBounds(start_ms, start_ms + LENGTH_MS), used


class ControlPlane:
    """Rows of parts, and the events they were made of."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, int]] = {ROLLING.key: {}, SESSION.key: {}}
        self.events: Events = []

    def parts(self, key: str, now_ms: int) -> Parts:
        kind = BucketParts if key == ROLLING.key else SessionParts
        return kind(LENGTH_MS, self.rows[key], now_ms)

    def settle(self, events: Events, now_ms: int) -> None:
        self.events += events
        for key, rows in self.rows.items():
            parts = self.parts(key, now_ms)
            for at_ms, amount in sorted(events):
                parts.add(at_ms, amount)
            changes = parts.changes()
            for start_ms in changes.removed:
                del rows[start_ms]
            rows.update({**changes.made, **changes.changed})

    def totals(self, now_ms: int) -> list[PushedTotal]:
        return [
            PushedTotal(key, start_ms, units)
            for key in self.rows
            for start_ms, units in self.parts(key, now_ms).current.items()
        ]


class Sidecar:
    """A book with own usage, of which some is settled and some known to be included."""

    def __init__(self) -> None:
        self.book = UsageBook()
        self.own: Events = []
        self.settled = 0
        self.included = 0
        self.pushed: Events = []

    def use(self, at_ms: int, amount: int, now_ms: int) -> None:
        self.states(now_ms)
        self.own.append((at_ms, amount))
        self.book.record("acme", KEY, Position(0, len(self.own)), Units(at_ms, amount))

    def settle(self, control_plane: ControlPlane, count: int, now_ms: int) -> None:
        fresh = self.own[self.settled : self.settled + count]
        self.settled += len(fresh)
        control_plane.settle(fresh, now_ms)

    def push(self, control_plane: ControlPlane, now_ms: int, *, is_whole: bool) -> None:
        self.included = self.settled
        self.pushed = list(control_plane.events)
        totals = {KEY: [t for t in control_plane.totals(now_ms) if t.total or not is_whole]}
        self.book.push("acme", totals, {0: self.included}, is_whole=is_whole)

    def states(self, now_ms: int) -> list[LimitState]:
        return self.book.open("acme", KEY).states(ENTITLEMENT, 0, now_ms)[0]

    def check(self, now_ms: int) -> None:
        rolled, _, session = self.states(now_ms)
        events = self.pushed + self.own[self.included :]
        assert rolled.used == rolling_used(events, now_ms)
        assert (session.bounds, session.used) == session_used(events, now_ms)
        if rolled.used:
            assert rolled.buckets is not None
            assert sum(rolled.buckets.values()) == rolled.used
            assert rolled.bounds is not None
            assert rolled.bounds.start_ms == min(rolled.buckets)
        else:
            assert rolled.bounds is None


sidecars = st.integers(0, 2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("use"), sidecars, st.integers(1, 9)),
        st.tuples(st.just("late"), sidecars, st.integers(1, 50)),
        st.tuples(st.just("settle"), sidecars, st.integers(1, 3)),
        st.tuples(st.just("push"), sidecars, st.integers(0, 1)),
        st.tuples(st.just("broken"), sidecars, st.integers(1, 9)),
        st.tuples(st.just("close"), sidecars, st.just(0)),
        st.tuples(st.just("wait"), sidecars, st.integers(1, 90)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(steps)
def test_every_sidecar_counts_what_was_settled_at_its_last_push_and_its_own_usage_since(
    script: list[tuple[str, int, int]],
) -> None:
    control_plane = ControlPlane()
    fleet = [Sidecar() for _ in range(3)]
    now_ms = START_MS
    for what, index, value in script:
        one = fleet[index]
        if what == "wait":
            settle_what_gets_late(fleet, control_plane, now_ms, value * MINUTE_MS)
            now_ms += value * MINUTE_MS
        else:
            do(one, control_plane, (what, value), now_ms)
        one.check(now_ms)
    for one in fleet:
        one.settle(control_plane, len(one.own), now_ms)
    for one in fleet:
        one.push(control_plane, now_ms, is_whole=True)
        one.check(now_ms)
    assert len({tuple(s.used for s in one.states(now_ms)[::2]) for one in fleet}) == 1


def do(one: Sidecar, control_plane: ControlPlane, what: tuple[str, int], now_ms: int) -> None:
    match what:
        case ("use", amount):
            one.use(now_ms, amount, now_ms)
        case ("late", minutes):
            one.use(now_ms - minutes * MINUTE_MS, 1, now_ms)
        case ("settle", count):
            one.settle(control_plane, count, now_ms)
        case ("push", is_whole):
            one.push(control_plane, now_ms, is_whole=bool(is_whole))
        case ("broken", amount):
            # The journal could not write it.
            one.use(now_ms, amount, now_ms)
            one.own.pop()
            one.book.take_back("acme", KEY, Units(now_ms, amount))
        case _:
            # The plan lost the feature, and gets it back.
            one.book.close("acme", KEY)


def settle_what_gets_late(
    fleet: Iterable[Sidecar], control_plane: ControlPlane, now_ms: int, step_ms: int
) -> None:
    """Settle and tell in time what would else be settled a whole length after it was used."""
    for one in fleet:
        waiting = one.own[one.included :]
        if any(at_ms + LENGTH_MS <= now_ms + step_ms for at_ms, _ in waiting):
            one.settle(control_plane, len(waiting), now_ms)
            one.push(control_plane, now_ms, is_whole=False)


def test_an_outage_of_many_lengths_ends_in_the_sessions_that_were_enforced() -> None:
    control_plane, one = ControlPlane(), Sidecar()
    now_ms = START_MS
    for _ in range(40):
        one.use(now_ms, 1, now_ms)
        now_ms += 25 * MINUTE_MS
    one.check(now_ms)
    for _ in range(40):
        one.settle(control_plane, 1, now_ms)
        one.push(control_plane, now_ms, is_whole=False)
    one.check(now_ms)


def moving_gate(*limits: Limit) -> Driver:
    gate = make_gate()
    upgraded = tuple(limit if limit.id == "week" else hard(50, limit.window) for limit in limits)
    plans = {
        "free": PlanVersion("free", 1, "Free", {"calls": Entitlement("calls", limits=limits)}),
        "pro": PlanVersion("pro", 1, "Pro", {"calls": Entitlement("calls", limits=upgraded)}),
    }
    plans["free"] = PlanVersion("free", 1, "Free", plans["free"].entitlements, ("pro",))
    features = {"calls": Feature("calls", FeatureType.METERED)}
    gate.cache.apply_catalog(Catalog("shop", 2, features, {k: {1: v} for k, v in plans.items()}))
    gate.cache.apply_customer(customer(version=2))
    return Driver(gate)


def test_a_session_and_a_week_hold_at_once_and_a_refusal_counts_in_none() -> None:
    driver = moving_gate(hard(3, SESSION, "session"), hard(5, DAY, "day"))
    first = driver.consume("calls", 3)
    assert first.verdict.allowed
    refusal = driver.consume("calls", 1).verdict
    assert refusal.reason is Reason.LIMIT_REACHED
    assert refusal.state is not None
    assert refusal.state.limit.id == "session"
    assert refusal.retry_after_ms == LENGTH_MS
    driver.later(LENGTH_MS)
    # Refused by the day, so it opens no session.
    assert driver.consume("calls", 3).verdict.state is not None
    assert driver.consume("calls", 0).verdict.allowed
    states = driver.gate.book.open("acme", KEY)
    entitlement = driver.gate.resolve("acme", "", driver.moment)[2].entitlements["calls"]  # type: ignore[index,union-attr]
    session, day = states.states(entitlement, START_MS, driver.moment.now_ms)[0]
    assert (session.bounds, session.used, day.used) == (None, 0, 3)
    assert driver.consume("calls", 2).verdict.allowed


def test_upgrade_hints_know_what_is_used_of_windows_that_move() -> None:
    rolled = hard(3, ROLLING, "rolling")
    driver = moving_gate(rolled)
    assert driver.consume("calls", 3).verdict.allowed
    assert [hint.plan for hint in driver.consume("calls", 1).hints] == ["pro"]
    assert [hint.plan for hint in driver.consume("calls", 47).hints] == ["pro"]
    assert driver.consume("calls", 48).hints == ()


@pytest.mark.parametrize("window", [ROLLING, SESSION])
def test_a_raised_limit_holds_at_once(window: Window) -> None:
    driver = moving_gate(hard(3, window, "own"))
    assert driver.consume("calls", 3).verdict.allowed
    assert not driver.consume("calls", 1).verdict.allowed
    driver.gate.cache.apply_customer(customer(version=3, plan="pro"))
    driver.later(HOUR_MS // 2)
    assert driver.consume("calls", 47).verdict.allowed
    assert not driver.consume("calls", 1).verdict.allowed


def test_a_window_that_went_and_came_back_is_asked_for() -> None:
    control_plane, one, now_ms = ControlPlane(), Sidecar(), START_MS
    one.use(now_ms, 1, now_ms)
    one.settle(control_plane, 1, now_ms)
    one.push(control_plane, now_ms, is_whole=False)
    usage = one.book.open("acme", KEY)
    without = Entitlement("calls", limits=LIMITS[:2])
    assert not usage.states(without, 0, now_ms)[1]
    named = [t for t in control_plane.totals(now_ms) if t.window_key == ROLLING.key]
    one.book.push("acme", {KEY: named}, {}, is_whole=False)
    _, has_new = usage.states(ENTITLEMENT, 0, now_ms)
    assert has_new
