"""A rate of the fleet holds in every span of time, whatever fails; and all of it can be had."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rate_fleet import Fleet, Meter

from weighbridge.rules.rate import Rate, RatePeriod, RateScope


def fleet_rate(limit: int, burst: int, period: RatePeriod = RatePeriod.SECOND) -> Rate:
    return Rate("fast", limit, period, burst, RateScope.FLEET)


RATES = st.builds(
    fleet_rate,
    st.integers(1, 200),
    st.integers(1, 50),
    st.sampled_from([RatePeriod.SECOND, RatePeriod.MINUTE]),
)


def hammer(fleet: Fleet, rate: Rate, span_ms: int, *, units: int = 1, meter: Meter) -> None:
    end_ms = fleet.now_ms + span_ms
    while fleet.now_ms < end_ms:
        fleet.step(fleet.random.choice((5, 10, 20)))
        for node in fleet.nodes:
            if fleet.now_ms >= node.paused_until_ms and node.call(rate, "acme", units):
                meter.admit(units, fleet.now_ms)
                assert meter.level >= 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), RATES, st.integers(0, 2**32), st.integers(1, 3))
def test_no_span_has_more_than_burst_and_rate(
    count: int, rate: Rate, seed: int, units: int
) -> None:
    fleet, meter = Fleet(count, seed), Meter(rate)
    random = fleet.random
    for _ in range(8):
        fleet.delay_ms_max = random.choice((0, 5, 50, 500))
        node = random.choice(fleet.nodes)
        match random.randrange(5):
            case 0:
                node.disconnect()
            case 1:
                node.restart()
            case 2:
                fleet.restart_desk()
            case 3:
                node.paused_until_ms = fleet.now_ms + random.choice((500, 9_000))
            case _:
                pass
        for each in fleet.nodes:
            if each.session is None and random.random() < 0.7:
                each.connect()
        hammer(fleet, rate, random.choice((300, 2_000, 4_000)), units=units, meter=meter)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
@pytest.mark.parametrize(("limit", "burst"), [(50, 20), (10, 1), (7, 3)])
def test_a_good_part_of_the_rate_is_admitted_and_nobody_starves(
    count: int, limit: int, burst: int
) -> None:
    rate = fleet_rate(limit, burst)
    fleet, meter = Fleet(count, seed=count), Meter(rate)
    fleet.delay_ms_max = 2
    hammer(fleet, rate, 15_000, meter=meter)
    possible = burst + limit * 15
    assert meter.admitted > possible * 0.7
    assert all(node.admitted > 0 for node in fleet.nodes)


def test_a_lone_sidecar_has_the_whole_burst_at_once() -> None:
    rate = fleet_rate(1, 40)
    fleet = Fleet(3, seed=1)
    fleet.step(100)
    node = fleet.nodes[0]
    assert not node.call(rate, "acme", 1)
    for _ in range(10):
        fleet.step(10)
    assert node.call(rate, "acme", 40)
    assert not node.call(rate, "acme", 1)


def test_what_an_idle_sidecar_has_left_comes_back() -> None:
    rate = fleet_rate(1, 40, RatePeriod.HOUR)
    fleet = Fleet(2, seed=1)
    fleet.delay_ms_max = 0
    one, other = fleet.nodes

    def calls_until_allowed(node: object, units: int) -> bool:
        for _ in range(100):
            fleet.step(20)
            if node.call(rate, "acme", units):  # type: ignore[attr-defined]
                return True
        return False

    assert calls_until_allowed(one, 10)
    for _ in range(800):
        fleet.step(10)
    assert len(list(one.shares.held())) == 0
    assert calls_until_allowed(other, 30)
    assert not calls_until_allowed(one, 1)


def test_a_new_desk_gives_nothing_before_old_shares_have_ended() -> None:
    rate = fleet_rate(100, 10)
    fleet, meter = Fleet(2, seed=3), Meter(rate)
    one, other = fleet.nodes
    for _ in range(50):
        fleet.step(10)
        if one.call(rate, "acme", 1):
            meter.admit(1, fleet.now_ms)
    assert one.admitted
    fleet.restart_desk()
    # The holder is cut off, and spends on; the other asks the new desk.
    other.connect()
    for _ in range(500):
        fleet.step(10)
        if one.call(rate, "acme", 1):
            meter.admit(1, fleet.now_ms)
        assert not other.call(rate, "acme", 1)
    hammer(fleet, rate, 6_000, meter=meter)
    assert other.admitted
    assert meter.level >= 0
