"""The gate: every reason it can give, and usage that counts at once or not at all."""

from __future__ import annotations

import pytest

from sidecar.core.batch import Batch, Replay, SameAs
from sidecar.core.decided import Decided, NotLoaded
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import Mode
from sidecar.core.usage import Position, PushedTotal
from tests.sidecar.gate_world import (
    DAY,
    MOMENT,
    MONTH,
    OUTAGE_AFTER_MS,
    Driver,
    catalog,
    customer,
    make_gate,
)
from weighbridge.rules.catalog import CustomerStatus
from weighbridge.rules.decision import DecidedBy, Reason
from weighbridge.rules.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from weighbridge.rules.window import window_bounds


def request(kind: Kind = Kind.CHECK, **changes: object) -> Request:
    return Request(kind, "acme", "", "api.calls")._replace(**changes)  # type: ignore[arg-type]


def test_a_hard_limit_admits_up_to_its_last_unit_and_refuses_the_next() -> None:
    driver = Driver()
    for _ in range(5):
        assert driver.consume("api.calls").verdict.allowed
    refusal = driver.consume("api.calls")
    assert refusal.verdict.reason is Reason.LIMIT_REACHED
    assert refusal.verdict.state is not None
    assert refusal.verdict.state.limit.id == "day"
    assert refusal.verdict.state.used == 5
    assert refusal.verdict.retry_after_ms is not None
    assert refusal.decided_by is DecidedBy.CACHE


def test_a_refused_call_never_counts() -> None:
    driver = Driver()
    assert not driver.consume("api.calls", 6).verdict.allowed
    assert driver.consume("api.calls", 5).verdict.allowed


def test_a_check_changes_nothing() -> None:
    driver = Driver()
    for _ in range(20):
        assert driver.check("api.calls", 5).verdict.allowed


def test_amount_zero_is_valid_and_always_passes() -> None:
    driver = Driver()
    driver.consume("api.calls", 5)
    assert driver.consume("api.calls", 0).verdict.allowed


def test_a_refusal_names_the_plan_and_the_add_on_that_would_allow_it() -> None:
    driver = Driver()
    hints = driver.consume("api.calls", 6).hints
    assert [(hint.plan, hint.add_on) for hint in hints] == [("pro", "")]
    assert hints[0].offer.url == "https://example.com/pro"
    # The add-on raises the month only; it helps once the day is no obstacle.
    assert [hint.plan for hint in driver.check("sso").hints] == ["pro"]


def test_a_soft_limit_allows_and_counts_overage() -> None:
    driver = Driver()
    assert driver.consume("tokens", 90).verdict.overage == 0
    assert driver.consume("tokens", 30).verdict.overage == 20
    assert driver.consume("tokens", 7).verdict.overage == 7


def test_plain_features() -> None:
    driver = Driver()
    assert driver.check("sso").verdict.reason is Reason.FEATURE_NOT_IN_PLAN
    assert driver.check("file_mb", 25).verdict.allowed
    assert driver.check("file_mb", 26).verdict.reason is Reason.VALUE_NOT_ALLOWED
    assert driver.check("support", value="email").verdict.allowed
    phone = driver.check("support", value="phone")
    assert phone.verdict.reason is Reason.VALUE_NOT_ALLOWED
    assert [hint.plan for hint in phone.hints] == ["pro"]


def test_usage_of_a_feature_that_is_not_metered_is_a_broken_call() -> None:
    with pytest.raises(InvalidArgumentError, match="feature: 'support' is a enum feature"):
        Driver().consume("support")


def test_reasons_that_come_before_limits() -> None:
    driver = Driver()
    assert driver.check("nonsense").verdict.reason is Reason.FEATURE_UNKNOWN
    gate = driver.gate
    cases = [
        (request(resource="nowhere"), Reason.RESOURCE_UNKNOWN),
        (request(resource="workspace"), Reason.NO_ACTIVE_SUBSCRIPTION),
    ]
    for asked, reason in cases:
        decided = gate.decide(asked, MOMENT)
        assert isinstance(decided, Decided)
        assert decided.verdict.reason is reason
    gate.cache.apply_customer(customer(version=2, status=CustomerStatus.ARCHIVED))
    assert driver.check("api.calls").verdict.reason is Reason.CUSTOMER_ARCHIVED
    gate.cache.apply_customer(customer(version=3, status=CustomerStatus.REVOKED))
    assert driver.check("api.calls").verdict.reason is Reason.REVOKED
    # A tombstone is not undone by a late message, only by a newer version.
    assert not gate.cache.apply_customer(customer(version=2))
    assert driver.check("api.calls").verdict.reason is Reason.REVOKED
    assert gate.cache.apply_customer(customer(version=4))
    assert driver.check("api.calls").verdict.allowed
    assert gate.cache.apply_absent("acme", 5)
    assert driver.check("api.calls").verdict.reason is Reason.CUSTOMER_UNKNOWN


def test_a_customer_that_is_not_loaded_is_not_unknown() -> None:
    gate = make_gate()
    assert gate.decide(request(customer="other"), MOMENT) == NotLoaded("other")
    listed = make_gate(Mode.LISTED)
    with pytest.raises(FailedPreconditionError, match="fixed list of customers, without 'other'"):
        listed.decide(request(customer="other"), MOMENT)


def test_a_report_is_never_refused_for_a_limit() -> None:
    driver = Driver()
    over = driver.report("api.calls", 100)
    assert over.is_recorded
    assert over.verdict.overage == 95
    assert driver.check("api.calls").verdict.reason is Reason.LIMIT_REACHED
    unloaded = driver.ask(request(Kind.REPORT, customer="nobody"))
    assert isinstance(unloaded, Decided)
    assert unloaded.is_recorded


def test_a_report_must_lie_within_its_time() -> None:
    driver = Driver()
    for offset_ms in (-36 * 24 * 3_600_000, 6 * 60_000):
        with pytest.raises(InvalidArgumentError, match="occurred_at_unix_ms"):
            driver.ask(request(Kind.REPORT, occurred_at_ms=MOMENT.now_ms + offset_ms))


def test_calls_of_one_batch_see_each_other_and_share_one_summed_entry() -> None:
    gate = make_gate()
    batch = Batch(gate, Position(0, 1), MOMENT)
    outcomes = [batch.decide(request(Kind.CONSUME)) for _ in range(7)]
    assert [o.verdict.allowed for o in outcomes if isinstance(o, Decided)] == [True] * 5 + [
        False
    ] * 2
    assert [(entry.amount, entry.calls) for entry in batch.entries] == [(5, 5)]


def test_a_rolled_back_batch_leaves_nothing() -> None:
    gate = make_gate()
    batch = Batch(gate, Position(0, 1), MOMENT)
    for key in ("", "k1", ""):
        batch.decide(request(Kind.CONSUME, key=key))
    batch.decide(request(Kind.CONSUME, feature="unlimited"))
    batch.decide(request(Kind.REPORT, customer="nobody"))
    batch.rollback()
    driver = Driver(gate)
    assert driver.consume("api.calls", 5, key="k1").verdict.allowed
    assert not gate.book.has_own("nobody")


def test_a_key_gets_the_first_answer_and_another_payload_is_refused() -> None:
    driver = Driver()
    assert driver.consume("api.calls", 2, key="k").is_recorded
    again = driver.ask(request(Kind.CONSUME, amount=2, key="k"))
    assert isinstance(again, Replay)
    assert again.answer.position == Position(0, 1)
    with pytest.raises(ConflictError, match="'k' was used with another payload"):
        driver.ask(request(Kind.CONSUME, amount=3, key="k"))
    assert driver.check("api.calls", 3).verdict.allowed


def test_a_key_repeated_within_a_batch_counts_once() -> None:
    gate = make_gate()
    batch = Batch(gate, Position(0, 1), MOMENT)
    first = batch.decide(request(Kind.CONSUME, key="k"))
    assert isinstance(first, Decided)
    assert batch.decide(request(Kind.CONSUME, key="k")) == SameAs(request(Kind.CONSUME, key="k"), 0)
    with pytest.raises(ConflictError):
        batch.decide(request(Kind.CONSUME, key="k", amount=9))
    assert len(batch.entries) == 1


def test_a_refusal_binds_no_key() -> None:
    driver = Driver()
    assert not driver.consume("api.calls", 6, key="k").verdict.allowed
    assert driver.consume("api.calls", 5, key="k").verdict.allowed


def test_at_capacity_keyed_calls_are_refused_and_no_key_is_forgotten_early() -> None:
    driver = Driver(make_gate(keys_max=2))
    driver.consume("unlimited", key="a")
    driver.consume("unlimited", key="b")
    with pytest.raises(ResourceExhaustedError, match="idempotency_key"):
        driver.consume("unlimited", key="c")
    assert isinstance(driver.ask(request(Kind.CONSUME, feature="unlimited", key="a")), Replay)
    driver.later(899_999)
    with pytest.raises(ResourceExhaustedError):
        driver.consume("unlimited", key="c")
    # Forgotten in slices of a second, never early.
    driver.later(1_001)
    assert driver.consume("unlimited", key="c").is_recorded


def test_a_plan_change_is_one_message_and_takes_effect_mid_window() -> None:
    driver = Driver()
    driver.consume("api.calls", 5)
    driver.later(24 * 3_600_000)
    assert driver.consume("api.calls", 5).verdict.allowed
    driver.later(24 * 3_600_000)
    assert driver.check("api.calls").verdict.reason is Reason.LIMIT_REACHED
    assert driver.gate.cache.apply_catalog(catalog(2, calls=20))
    raised = driver.check("api.calls", 5)
    assert raised.verdict.allowed
    assert not driver.gate.cache.apply_catalog(catalog(1)), "an older version is ignored"


def test_pushed_totals_replace_own_usage_they_include() -> None:
    driver = Driver()
    driver.consume("api.calls", 2)
    driver.consume("api.calls", 1)
    bounds = {w.key: window_bounds(w, MOMENT.now_ms, 0).start_ms for w in (MONTH, DAY)}
    totals = [PushedTotal(key, start, 4) for key, start in bounds.items()]
    # Another sidecar used 2; of ours, record 1 is included and record 2 is not.
    driver.gate.book.push("acme", {("", "api.calls"): totals}, {0: 1}, is_whole=False)
    assert driver.check("api.calls").verdict.state is not None
    state = driver.check("api.calls").verdict.state
    assert state is not None
    assert state.used == 5


def outage(feature: str, used_before: int = 0) -> Driver:
    driver = Driver()
    if used_before:
        driver.consume(feature, used_before)
    driver.later(OUTAGE_AFTER_MS)
    return driver


def test_outage_last_known_decides_as_before() -> None:
    driver = outage("api.calls", 5)
    assert driver.check("api.calls").verdict.reason is Reason.LIMIT_REACHED
    assert driver.check("api.calls").decided_by is DecidedBy.OUTAGE_POLICY
    assert driver.check("file_mb", 1).decided_by is DecidedBy.CACHE


def test_outage_deny_refuses_metered_usage() -> None:
    assert outage("denying").consume("denying").verdict.reason is Reason.OUTAGE_POLICY
    assert outage("denying", 10).consume("denying").verdict.reason is Reason.LIMIT_REACHED


def test_outage_allow_passes_the_limit_but_keeps_refused_customers_refused() -> None:
    driver = outage("allowing", 9)
    assert driver.consume("allowing", 5).verdict.allowed
    assert driver.consume("allowing", 5).verdict.allowed
    refused_before = outage("allowing", 10)
    assert refused_before.consume("allowing").verdict.reason is Reason.LIMIT_REACHED


def test_outage_safe_capacity_admits_that_much_and_no_more() -> None:
    driver = outage("safe", 2)
    assert driver.consume("safe", 2).verdict.allowed
    over = driver.consume("safe", 2)
    assert over.verdict.reason is Reason.OUTAGE_POLICY
    assert over.verdict.allowed_amount == 1
    driver.gate.link.heard(driver.moment.boot_ms)
    assert driver.consume("safe", 2).decided_by is DecidedBy.CACHE


def test_outage_and_a_customer_that_is_not_loaded() -> None:
    driver = outage("api.calls")
    decided = driver.ask(request(Kind.CONSUME, customer="other"))
    assert isinstance(decided, Decided)
    assert decided.verdict.reason is Reason.OUTAGE_POLICY


def test_eviction_spares_customers_with_unsettled_usage() -> None:
    gate = make_gate(Mode.ON_DEMAND, customers_max=2)
    for name in ("b", "c", "d"):
        gate.cache.apply_customer(customer(name))
    driver = Driver(gate)
    driver.consume("unlimited")
    assert gate.cache.evict(gate.book.has_own) == ["b", "c"]
    assert gate.cache.find("acme") is not None


def test_a_rolled_back_batch_may_hold_amounts_of_zero() -> None:
    gate = make_gate()
    batch = Batch(gate, Position(0, 1), MOMENT)
    for amount in (0, 3, 0):
        batch.decide(request(Kind.CONSUME, amount=amount))
    batch.rollback()
    assert Driver(gate).consume("api.calls", 5).verdict.allowed


def test_usage_of_a_feature_that_left_the_plan_is_let_go_once_settled() -> None:
    driver = Driver()
    driver.consume("denying", 4)
    lost = customer(version=2, plan="pro")
    driver.gate.cache.apply_customer(lost)
    assert driver.check("denying").verdict.reason is Reason.FEATURE_NOT_IN_PLAN
    driver.gate.book.settled({0: 1})
    assert not driver.gate.book.has_own("acme")


def test_a_feature_that_was_unlimited_for_a_while_remembers_what_was_used() -> None:
    driver = Driver()
    driver.consume("denying", 4)
    key = ("", "denying")
    bounds = window_bounds(MONTH, MOMENT.now_ms, 0)
    totals = {key: [PushedTotal(MONTH.key, bounds.start_ms, 4)]}
    driver.gate.book.push("acme", totals, {0: 1}, is_whole=False)
    driver.gate.book.close("acme", key)
    state = driver.check("denying").verdict.state
    assert state is not None
    assert state.used == 4
