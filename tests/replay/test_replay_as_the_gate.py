"""A replay with the live catalog gives the very decisions that a gate gave."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.core.batch import Batch
from sidecar.core.book import UsageBook
from sidecar.core.decided import Decided
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyTable
from sidecar.core.link import Link
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import Mode, SnapshotCache
from sidecar.core.usage import Position
from tests.replay.replay_samples import DAY_MS, SHOP, START_MS, compiled
from weighbridge.replay.event import Event
from weighbridge.replay.simulation import Simulation, Terms
from weighbridge.rules.catalog import (
    Customer,
    CustomerStatus,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.judging import Asked

# Totals decide at once; for leases a gate would have to ask.
CATALOG = compiled(SHOP.replace("type: metered", "type: metered, consistency: cached"))
ANCHOR_MS = START_MS - 20 * DAY_MS
CUSTOMERS = ("acme", "bolt")
METERED = ("calls", "tokens", "trial_calls", "paid_calls", "bursts", "sales", "visits", "nothing")


class Call(NamedTuple):
    customer: str
    asked: Asked
    later_ms: int


def gate() -> Gate:
    cache = SnapshotCache(Mode.ALL, 100, frozenset())
    cache.apply_catalog(CATALOG)
    for name in CUSTOMERS:
        subscription = Subscription(
            "s1", "", "free", None, (), SubscriptionStatus.ACTIVE, ANCHOR_MS, ANCHOR_MS
        )
        cache.apply_customer(
            Customer(name, 1, CustomerStatus.ACTIVE, "shop", subscriptions=(subscription,))
        )
    link = Link(0, 2**62)
    return Gate(cache, UsageBook(), KeyTable(10, 1), link, admit_unloaded=False)


counted = st.builds(
    Asked,
    st.sampled_from(METERED),
    st.none() | st.integers(0, 12),
)
plain = st.one_of(
    st.builds(lambda amount: Asked("file_mb", amount), st.none() | st.integers(20, 30)),
    st.builds(lambda value: Asked("support", None, value), st.sampled_from(["", "email", "phone"])),
    st.just(Asked("sso")),
)
later = st.sampled_from([0, 1, 400, 1_000, 30_000, 3_600_000, DAY_MS, 12 * DAY_MS])
held = st.builds(Asked, st.sampled_from(["jobs", "rooms"]), st.integers(-6, 6))
calls = st.builds(Call, st.sampled_from(CUSTOMERS), counted | plain | held, later)


@settings(max_examples=300)
@given(st.lists(calls, max_size=60))
@example([Call("acme", Asked("visits", 0), 0), Call("acme", Asked("visits"), 0)])
def test_every_decision_is_that_of_the_gate(trace: list[Call]) -> None:
    real = gate()
    simulation = Simulation(CATALOG, Terms(ANCHOR_MS), lambda _customer, _charge: None)
    now_ms = START_MS
    for number, call in enumerate(trace, start=1):
        now_ms += call.later_ms
        feature = CATALOG.features.get(call.asked.feature)
        is_check = feature is not None and feature.type.value != "metered"
        kind = Kind.CHECK if is_check else Kind.CONSUME
        asked = call.asked
        request = Request(kind, call.customer, "", asked.feature, asked.amount, asked.value)
        batch = Batch(real, Position(0, number), Moment(now_ms, now_ms))
        decided = batch.decide(request)
        batch.commit()
        assert isinstance(decided, Decided)
        event = Event(call.customer, "free", now_ms, (asked,))
        (verdict,) = simulation.take(event, now_ms)
        assert verdict == decided.verdict, (call, now_ms)


def test_memory_does_not_grow_with_calls_and_decisions_stay_right() -> None:
    """Enough calls that counters took their events in several times."""
    simulation = Simulation(CATALOG, Terms(ANCHOR_MS), lambda _customer, _charge: None)
    for number in range(2_000):
        event = Event("acme", "free", START_MS + number, (Asked("tokens", 1),))
        (verdict,) = simulation.take(event, event.at_ms)
        assert verdict.allowed
        assert verdict.overage == (1 if number >= 100 else 0)
    usage = simulation._customers["acme"]._meters["tokens"]._usage
    assert usage is not None
    assert len(usage.own_usage) < 256


def test_memory_does_not_grow_with_sessions() -> None:
    simulation = Simulation(CATALOG, Terms(ANCHOR_MS), lambda _customer, _charge: None)
    for number in range(2_000):
        at_ms = START_MS + number * DAY_MS
        for amount, is_allowed in ((9, True), (1, False)):
            event = Event("acme", "free", at_ms, (Asked("visits", amount),))
            (verdict,) = simulation.take(event, at_ms)
            assert verdict.allowed is is_allowed
    usage = simulation._customers["acme"]._meters["visits"]._usage
    assert usage is not None
    assert len(usage.pushed) < 64
