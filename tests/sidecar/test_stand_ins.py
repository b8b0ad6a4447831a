"""Customers nobody provisioned, in the gate: served from the catalog alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core import snapshots
from sidecar.core.gate import Decided, NotLoaded
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import Mode
from sidecar.core.usage import PushedTotal
from sidecar.core.viewing import CustomerView, view_customer
from tests.sidecar.gate_world import (
    MONTH,
    OUTAGE_AFTER_MS,
    START_MS,
    Driver,
    catalog,
    customer,
    make_gate,
)
from weighbridge.rules.catalog import CustomerStatus
from weighbridge.rules.decision import Reason
from weighbridge.rules.window import window_bounds

KEY = ("", "api.calls")


def driver(mode: Mode = Mode.ON_DEMAND, default_plan: str = "free") -> Driver:
    gate = make_gate(mode)
    gate.cache.apply_catalog(replace(catalog(2), default_plan=default_plan))
    return Driver(gate)


def consume(calls: Driver, customer_id: str, amount: int = 1) -> Decided | NotLoaded:
    outcome = calls.ask(Request(Kind.CONSUME, customer_id, "", "api.calls", amount))
    assert isinstance(outcome, Decided | NotLoaded)
    return outcome


def decided(outcome: Decided | NotLoaded) -> Decided:
    assert isinstance(outcome, Decided)
    return outcome


@pytest.mark.parametrize("mode", [Mode.ON_DEMAND, Mode.ALL])
def test_who_does_not_exist_is_on_the_default_plan(mode: Mode) -> None:
    calls = driver(mode)
    assert consume(calls, "new") == NotLoaded("new")
    calls.gate.cache.apply_absent("new", 7)
    first = decided(consume(calls, "new", 5))
    assert (first.verdict.allowed, first.is_recorded) == (True, True)
    assert (first.catalog_version, first.snapshot_version) == (2, 7)
    refusal = decided(consume(calls, "new")).verdict
    assert refusal.reason is Reason.LIMIT_REACHED
    view = view_customer(calls.gate, "new", "", calls.moment)
    assert isinstance(view, CustomerView)
    assert view.grant is not None
    assert view.grant.plan.plan == "free"


def test_without_a_default_plan_it_is_unknown() -> None:
    calls = driver(default_plan="")
    calls.gate.cache.apply_absent("new", 7)
    assert decided(consume(calls, "new")).verdict.reason is Reason.CUSTOMER_UNKNOWN
    calls.gate.cache.apply_catalog(replace(catalog(3), default_plan="free"))
    assert decided(consume(calls, "new")).verdict.allowed
    calls.gate.cache.apply_catalog(catalog(4))
    assert decided(consume(calls, "new")).verdict.reason is Reason.CUSTOMER_UNKNOWN


def test_usage_goes_on_when_the_customer_is_made() -> None:
    calls = driver()
    asked: list[str] = []
    calls.gate.on_refresh_wanted = asked.append
    cache, book = calls.gate.cache, calls.gate.book
    cache.apply_absent("new", 7)
    consume(calls, "new", 2)
    consume(calls, "new", 1)
    # Another sidecar used 1, and of this one's the first record is settled.
    cache.apply_customer(customer("new", 8))
    start_ms = window_bounds(MONTH, START_MS, 0).start_ms
    book.push("new", {KEY: [PushedTotal(MONTH.key, start_ms, 3)]}, {0: 1}, is_whole=True)
    state = decided(consume(calls, "new", 0)).verdict.state
    assert state is not None
    # Of the day, no total was pushed: only this sidecar's own is known, as of any customer.
    usage = book.find("new", KEY)
    assert usage is not None
    assert {total.total for total in usage.pushed} == {3}
    assert sum(own.amount for own in usage.own_usage) == 1
    assert asked == []


def test_archived_is_not_absent() -> None:
    calls = driver()
    calls.gate.cache.apply_absent("new", 7)
    calls.gate.cache.apply_customer(customer("new", 8, status=CustomerStatus.ARCHIVED))
    assert decided(consume(calls, "new")).verdict.reason is Reason.CUSTOMER_ARCHIVED
    assert not calls.gate.cache.apply_absent("new", 7)
    calls.gate.cache.apply_absent("new", 9)
    assert decided(consume(calls, "new")).verdict.allowed


def test_in_an_outage_who_is_known_not_to_exist_is_served_on() -> None:
    calls = driver()
    calls.gate.cache.apply_absent("new", 7)
    calls.later(OUTAGE_AFTER_MS)
    assert decided(consume(calls, "new")).verdict.allowed
    assert decided(consume(calls, "newer")).verdict.reason is Reason.OUTAGE_POLICY


def test_a_resource_of_nobody_is_unknown() -> None:
    calls = driver()
    calls.gate.cache.apply_absent("new", 7)
    outcome = calls.ask(Request(Kind.CONSUME, "new", "ws-1", "api.calls"))
    assert isinstance(outcome, Decided)
    assert outcome.verdict.reason is Reason.RESOURCE_UNKNOWN


def test_absent_ids_are_bounded_and_usage_on_its_way_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "ABSENT_MAX", 2)
    calls = driver()
    cache, book = calls.gate.cache, calls.gate.book
    for number in range(5):
        cache.apply_absent(f"new-{number}", 7)
    consume(calls, "new-0")
    assert cache.evict(book.has_own) == ["new-1", "new-2", "new-3"]
    assert cache.absent() == {"new-0", "new-4"}
    assert consume(calls, "new-1") == NotLoaded("new-1")
    assert decided(consume(calls, "new-0", 5)).verdict.allowed_amount == 4
    assert cache.evict(book.has_own) == []
