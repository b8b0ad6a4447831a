"""Spend limits at the gate: money is drawn from leases at the dearest price, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import grpc
import pytest

from sidecar.replaying import replay_journal
from sidecar.transport.seam import Answer, Call, Method, Pending, Status
from sidecar.wire.record import decode_record
from tests.sidecar.gate_world import DAY, MONTH, START_MS, customer, hard, make_gate, soft
from tests.sidecar.lease_world import LeaseWorld, leased_catalog, response
from weighbridge.rules.catalog import (
    Catalog,
    Customer,
    Enforcement,
    Entitlement,
    Feature,
    FeatureType,
    Meter,
)
from weighbridge.rules.lease import Consistency
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.prices import QuantityPrice
from weighbridge.rules.rating.tiers import Tier, TierMode, TierTable, UnitRate
from weighbridge.rules.spend import Spend
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

USD = Currency("USD", 2)
DOLLAR = 10**8
LIMIT = 10 * DOLLAR

SPEND = Feature(
    "spend",
    FeatureType.METERED,
    consistency=Consistency.LEASED,
    meter=Meter.SPEND,
    spend=Spend(USD),
)
# 1 dollar each, then 2 dollars, then 50 cents: the dearest is 2 dollars.
TIERS = TierTable(
    TierMode.GRADUATED,
    (Tier(5, Decimal(1)), Tier(7, Decimal(2)), Tier(None, Decimal("0.5"))),
)
PRICES = (
    QuantityPrice(key="u", currency=USD, rate=TIERS, feature="unlimited"),
    QuantityPrice(
        key="cheap",
        currency=USD,
        rate=UnitRate(Decimal("0.1")),
        feature="unlimited",
        match=(("model", "small"),),
    ),
    QuantityPrice(key="d", currency=USD, rate=UnitRate(Decimal(1)), feature="denying"),
)


def spending_catalog(
    limits: tuple[object, ...] = (hard(LIMIT, DAY, "day"),), *, version: int = 3
) -> Catalog:
    base = leased_catalog(10, version)
    free = base.plans["free"][1]
    spend = Entitlement("spend", limits=limits)  # type: ignore[arg-type]
    granted = {**free.entitlements, "spend": spend}
    plans = {**base.plans, "free": {1: replace(free, entitlements=granted, prices=PRICES)}}
    plans["pro"] = {
        1: replace(base.plans["pro"][1], entitlements={"unlimited": Entitlement("unlimited")})
    }
    return replace(base, features={**base.features, "spend": SPEND}, plans=plans)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LeaseWorld]:
    found = LeaseWorld(tmp_path)
    found.gate.cache.apply_catalog(spending_catalog())
    yield found
    found.close()


def entries(world: LeaseWorld) -> list[dict[str, int]]:
    """Return what the usage of all records was admitted at."""
    return [
        {spent.feature: spent.micros for spent in entry.spent}
        for stored in world.journal.read_unsettled((0, 0), 1_000, 1 << 20)
        for entry in sidecar_records(stored.payload)
    ]


def sidecar_records(payload: bytes) -> Sequence[sync_pb.UsageEntry]:

    return decode_record(payload).record.entries


def call(world: LeaseWorld, method: Method, request: object) -> Answer:
    return world.seam.answer([Call(method, request.SerializeToString())])[0]  # type: ignore[attr-defined]


def test_money_is_asked_for_at_the_dearest_price(world: LeaseWorld) -> None:
    waiting = world.consume(3, "unlimited")
    request = world.request()
    (want,) = request.wants
    assert (want.pool.feature, want.pool.limit_id) == ("spend", "day")
    assert (want.units_min, want.limit) == (6 * DOLLAR, LIMIT)
    world.grant(request, 6 * DOLLAR, limit=LIMIT)
    decision = response(waiting).decision
    assert decision.allowed
    assert decision.decided_by == pb.DECIDED_BY_LEASE
    assert not decision.HasField("spend")
    assert world.draws() == {1: 6 * DOLLAR}
    assert entries(world) == [{"spend": 6 * DOLLAR}]


def test_units_and_money_are_asked_for_together(world: LeaseWorld) -> None:
    waiting = world.consume(2)
    request = world.request()
    assert [(want.pool.feature, want.units_min) for want in request.wants] == [
        ("denying", 2),
        ("spend", 2 * DOLLAR),
    ]
    world.refuse(request, available=1, limit=LIMIT)
    decision = response(waiting).decision
    # Of one call the limit would pass a part, money none: what lacks most is told of.
    assert (decision.allowed, decision.reason) == (False, pb.REASON_SPEND_LIMIT_REACHED)
    assert world.draws() == {}


def test_a_refusal_tells_of_the_money(world: LeaseWorld) -> None:
    first = world.consume(2, "unlimited")
    world.grant(world.request(), 4 * DOLLAR, limit=LIMIT)
    assert response(first).decision.allowed
    waiting = world.consume(3, "unlimited")
    requests = [r for r in world.requests() if any(w.units_min for w in r.wants)]
    world.refuse(requests[-1], available=3 * DOLLAR, limit=LIMIT)
    decision = response(waiting).decision
    assert decision.reason == pb.REASON_SPEND_LIMIT_REACHED
    assert (decision.limit_id, decision.spend.feature, decision.spend.currency) == (
        "day",
        "spend",
        "USD",
    )
    assert decision.spend.exponent == 2
    assert decision.spend.limit_micros == LIMIT
    assert decision.spend.remaining_micros == 3 * DOLLAR
    # 3 dollars pay for one unit at 2.
    assert decision.allowed_amount == 1
    assert not decision.HasField("limit")
    assert not decision.HasField("used")
    assert decision.resets_in_ms > 0
    assert decision.retry_after_ms == decision.resets_in_ms
    assert [hint.plan for hint in decision.upgrade_hints] == ["pro"]


def test_dimensions_say_which_price(world: LeaseWorld) -> None:
    request = sidecar_pb.ConsumeRequest(
        customer="acme", feature="unlimited", amount=10, dimensions={"model": "small"}
    )
    call(world, Method.CONSUME, request)
    (want,) = world.request().wants
    assert want.units_min == DOLLAR


def test_what_costs_nothing_draws_nothing(world: LeaseWorld) -> None:
    assert response(world.consume(0, "unlimited")).decision.allowed
    assert entries(world) == [{}]


def test_a_check_says_what_is_known(world: LeaseWorld) -> None:
    assert world.check(5, "unlimited").decision.allowed
    refused = world.check(6, "unlimited").decision
    assert refused.reason == pb.REASON_SPEND_LIMIT_REACHED
    assert (refused.allowed_amount, refused.spend.remaining_micros) == (5, LIMIT)
    assert not refused.HasField("retry_after_ms"), "more than the limit never passes"
    assert world.requests() == []


def test_a_soft_limit_counts_what_lies_past_it(world: LeaseWorld) -> None:
    world.gate.cache.apply_catalog(spending_catalog((soft(3 * DOLLAR, MONTH, "month"),), version=4))
    decision = response(world.consume(4, "unlimited")).decision
    assert (decision.allowed, decision.included_amount, decision.overage_amount) == (True, 1, 3)
    again = response(world.consume(1, "unlimited")).decision
    assert (again.allowed, again.overage_amount) == (True, 1)


def test_a_feature_that_is_observed_spends_and_is_told_of(world: LeaseWorld) -> None:
    found = spending_catalog(version=4)
    observed = replace(found.features["unlimited"], enforcement=Enforcement.OBSERVE)
    world.gate.cache.apply_catalog(
        replace(found, features={**found.features, "unlimited": observed})
    )
    assert not response(world.consume(5, "unlimited")).decision.observed_reason
    decision = response(world.consume(1, "unlimited")).decision
    assert decision.allowed
    assert decision.observed_reason == pb.REASON_SPEND_LIMIT_REACHED
    assert world.draws() == {}


def test_a_report_is_never_refused_and_counts(world: LeaseWorld) -> None:
    report = sidecar_pb.ReportRequest(customer="acme", feature="unlimited", amount=100)
    assert isinstance(call(world, Method.REPORT, report), bytes)
    assert entries(world) == [{"spend": 200 * DOLLAR}]
    assert not world.check(1, "unlimited").decision.allowed


def test_without_the_control_plane_money_is_spent_as_far_as_it_is_leased(
    world: LeaseWorld,
) -> None:
    first = world.consume(1, "allowing")
    assert isinstance(first, Pending), "leased, and without a price"
    waiting = world.consume(2, "unlimited")
    for request in world.requests():
        world.grant(request, *(want.units_min for want in request.wants), limit=LIMIT)
    assert response(waiting).decision.allowed
    world.later(11_000, is_heard=False)
    decision = response(world.consume(1, "unlimited")).decision
    assert (decision.allowed, decision.reason) == (False, pb.REASON_OUTAGE_POLICY)


def test_a_hold_keeps_its_money_until_what_it_cost_is_known(
    world: LeaseWorld,
) -> None:
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature="unlimited", amount=4, reservation="r1"
    )
    waiting = call(world, Method.RESERVE, reserve)
    assert isinstance(waiting, Pending)
    world.grant(world.request(), 8 * DOLLAR, limit=LIMIT)
    assert world.draws() == {1: 8 * DOLLAR}
    settle = sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=1)
    assert isinstance(call(world, Method.SETTLE, settle), bytes)
    # What one unit cost is known upstream alone: nothing is put back here.
    assert world.draws() == {1: 8 * DOLLAR}
    assert entries(world) == [{"spend": 2 * DOLLAR}]


def test_a_released_hold_puts_its_money_back(world: LeaseWorld) -> None:
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature="unlimited", amount=4, reservation="r1"
    )
    call(world, Method.RESERVE, reserve)
    world.grant(world.request(), 8 * DOLLAR, limit=LIMIT)
    release = sidecar_pb.ReleaseRequest(customer="acme", reservation="r1")
    assert isinstance(call(world, Method.RELEASE, release), bytes)
    assert world.draws() == {1: 0}
    assert response(world.consume(4, "unlimited")).decision.allowed


def test_money_itself_is_not_asked_for(world: LeaseWorld) -> None:
    answer = world.consume(1, "spend")
    assert isinstance(answer, Status)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "counts what usage of other features costs" in answer.detail


def under(name: str, parent: str) -> Customer:
    return replace(customer(name), subscriptions=(), parent=parent)


def test_limits_above_count_what_is_used_below(world: LeaseWorld) -> None:
    world.gate.cache.apply_customer(under("child", "acme"))
    request = sidecar_pb.ConsumeRequest(customer="child", feature="unlimited", amount=2)
    waiting = call(world, Method.CONSUME, request)
    assert isinstance(waiting, Pending)
    asked = world.request()
    assert [(w.pool.customer, w.pool.feature) for w in asked.wants] == [("acme", "spend")]
    world.refuse(asked, available=0, limit=LIMIT)
    decision = response(waiting).decision
    assert (decision.reason, decision.limited_by) == (pb.REASON_SPEND_LIMIT_REACHED, "acme")
    assert [hint.plan for hint in decision.upgrade_hints] == ["pro"]


def test_what_was_spent_is_known_after_a_restart(world: LeaseWorld) -> None:
    world.gate.cache.apply_customer(under("child", "acme"))
    report = sidecar_pb.ReportRequest(customer="child", feature="unlimited", amount=5)
    call(world, Method.REPORT, report)
    gate = make_gate()
    replay_journal(world.journal, gate, START_MS - 1, START_MS - 1)
    gate.cache.apply_catalog(spending_catalog())
    gate.cache.apply_customer(under("child", "acme"))
    gate.place_usage("child")
    usage = gate.book.open("acme", ("", "spend"))
    assert [own.amount for own in usage.own_usage] == [LIMIT]


def test_a_batch_that_is_not_written_spends_nothing(world: LeaseWorld) -> None:
    first = world.consume(2, "unlimited")
    world.grant(world.request(), 4 * DOLLAR, limit=LIMIT)
    assert response(first).decision.allowed
    usage = world.gate.book.open("acme", ("", "spend"))
    before = [own.amount for own in usage.own_usage]
    world.journal.close()
    answer = world.consume(0, "unlimited")
    assert isinstance(answer, Status)
    report = sidecar_pb.ReportRequest(customer="acme", feature="unlimited", amount=1)
    assert isinstance(call(world, Method.REPORT, report), Status)
    assert [own.amount for own in usage.own_usage] == before
