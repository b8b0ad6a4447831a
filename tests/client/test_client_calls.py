"""Attempts under a fake clock, and arguments that are wrong before anything is sent."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
import pytest

from weighbridge import RetryPolicy, SyncClient
from weighbridge import client as wb
from weighbridge.client import calls, wire
from weighbridge.client.retry import Attempts, CallPolicy, Reconnects
from weighbridge.client.values import Check, DecidedBy, IdempotencyScope
from weighbridge.rules.decision import Reason
from weighbridge.v1 import types_pb2


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return None


GONE = Failure(grpc.StatusCode.UNAVAILABLE)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def policy(clock: Clock, **retry: Any) -> CallPolicy:
    return CallPolicy("here:1", 1.0, RetryPolicy(**retry), "raise", random.Random(1), clock)


def question(timeout_s: float | None = None) -> calls.Call[Any]:
    return calls.check(Check("acme", "api.calls"), timeout_s)


def test_pauses_double_up_to_the_cap_and_are_jittered() -> None:
    retry = RetryPolicy(backoff_ms_initial=20, backoff_ms_max=100)
    jitter = random.Random(1)
    for failures, pause_ms_max in [(1, 20), (2, 40), (3, 80), (4, 100), (5, 100), (5000, 100)]:
        pauses = {retry.pause_s(failures, jitter) * 1000 for _ in range(50)}
        assert len(pauses) > 40
        assert all(pause_ms_max / 2 <= pause <= pause_ms_max for pause in pauses)


def test_an_attempt_has_what_is_left_of_the_deadline() -> None:
    clock = Clock()
    attempts = Attempts(question(), policy(clock))
    assert attempts.remaining_s() == pytest.approx(1.0)
    clock.now_s += 0.4
    assert attempts.remaining_s() == pytest.approx(0.6)
    clock.now_s += 0.7
    assert attempts.remaining_s() == 0.0


def test_a_timeout_of_the_call_takes_the_place_of_the_clients() -> None:
    assert Attempts(question(7), policy(Clock())).remaining_s() == pytest.approx(7)


def test_no_pause_reaches_the_deadline() -> None:
    clock = Clock()
    attempts = Attempts(
        question(), policy(clock, attempts_max=99, backoff_ms_initial=100, backoff_ms_max=100)
    )
    while (pause_s := attempts.pause_s_after(GONE)) is not None:
        clock.now_s += pause_s
        assert attempts.remaining_s() > 0
    assert attempts.remaining_s() <= 0.1


@pytest.mark.parametrize(
    "code",
    [c for c in grpc.StatusCode if c.name not in {"UNAVAILABLE", "CANCELLED"}],
)
def test_only_an_absent_sidecar_is_asked_again(code: grpc.StatusCode) -> None:
    assert Attempts(question(), policy(Clock())).pause_s_after(Failure(code)) is None


def test_an_unknown_failure_is_not_asked_again() -> None:
    attempts = Attempts(question(), policy(Clock()))
    assert attempts.pause_s_after(grpc.RpcError()) is None
    with pytest.raises(wb.UnexpectedStatusError, match="UNKNOWN: no details"):
        attempts.give_up(grpc.RpcError())


def test_patience_counts_from_the_loss_and_not_from_the_last_change() -> None:
    clock = Clock()
    reconnects = Reconnects(policy(clock), 30.0)
    reconnects.heard()
    clock.now_s += 3600
    assert reconnects.pause_s_after(GONE) > 0
    clock.now_s += 29
    assert reconnects.pause_s_after(GONE) > 0
    clock.now_s += 1
    with pytest.raises(wb.SidecarUnreachableError):
        reconnects.pause_s_after(GONE)
    reconnects.heard()
    assert reconnects.pause_s_after(None) > 0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RetryPolicy(attempts_max=0), "attempts_max"),
        (lambda: RetryPolicy(backoff_ms_initial=0), "backoff_ms_initial"),
        (lambda: RetryPolicy(backoff_ms_initial=9, backoff_ms_max=8), "backoff_ms_initial"),
        (lambda: SyncClient("h:1", timeout_s=0), "timeout_s"),
        (lambda: SyncClient("h:1", timeout_s=float("nan")), "timeout_s"),
        (lambda: SyncClient("h:1", when_unreachable="panic"), "when_unreachable"),  # type: ignore[arg-type]
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], field: str) -> None:
    with pytest.raises(wb.InvalidArgumentError) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.check("", "api.calls"), "customer"),
        (lambda c: c.check("acme", "api calls"), "feature"),
        (lambda c: c.check("acme", "f", resource="?"), "resource"),
        (lambda c: c.check("acme", "f", -1), "amount"),
        (lambda c: c.check("acme", "f", 2**63), "amount"),
        (lambda c: c.check("acme", "f", value="\ud800"), "value"),
        (lambda c: c.check("acme", "f", timeout_s=-1), "timeout_s"),
        (lambda c: c.consume("x" * 129, "f"), "customer"),
        (lambda c: c.consume("acme", "f", 10**15 + 1), "amount"),
        (lambda c: c.consume("acme", "f", idempotency_key="\ud800"), "idempotency_key"),
        (lambda c: c.consume("acme", "f", dimensions={"model": "\ud800"}), "dimensions"),
        (lambda c: c.report("acme", "f", occurred_at=datetime(2026, 1, 1)), "occurred_at"),  # noqa: DTZ001
        (lambda c: c.entitlements("acme", resource="a b"), "resource"),
        (lambda c: next(c.watch("")), "customer"),
    ],
)
def test_wrong_arguments_name_their_field(call: Callable[[SyncClient], object], field: str) -> None:
    with SyncClient("127.0.0.1:1") as client, pytest.raises(wb.InvalidArgumentError) as caught:
        call(client)
    assert caught.value.field == field


def test_a_misspelt_option_is_a_type_error() -> None:
    with SyncClient("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="unexpected option 'key'"):
            client.consume("acme", "f", key="k")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected option 'occurred_at'"):
            client.consume("acme", "f", occurred_at=None)  # type: ignore[call-arg]


def test_text_beyond_ascii_is_fine() -> None:
    options: calls.UsageOptions = {"dimensions": {"région": "Île-de-France"}}
    call = calls.consume(("acme", "f"), 1, options, generates_keys=False)
    assert call.request.dimensions["région"] == "Île-de-France"  # type: ignore[attr-defined]


def test_every_enum_of_the_wire_has_its_member() -> None:
    assert set(wire._REASONS.values()) == set(Reason)
    assert len(wire._REASONS) == len(types_pb2.Reason.items()) - 1
    assert set(wire._DECIDED_BY.values()) == set(DecidedBy) - {DecidedBy.CLIENT_FALLBACK}
    assert len(wire._DECIDED_BY) == len(types_pb2.DecidedBy.items()) - 1
    for known, enum in [
        (wire._FEATURE_TYPES, types_pb2.FeatureType),
        (wire._LIMIT_KINDS, types_pb2.LimitKind),
        (wire._WINDOW_KINDS, types_pb2.WindowKind),
        (wire._PERIODS, types_pb2.WindowPeriod),
    ]:
        assert len(known) == len(enum.items()) - 1
    assert set(calls._SCOPES) == set(IdempotencyScope)
