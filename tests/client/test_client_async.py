"""The asyncio client against a real gRPC server that answers as scripted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import grpc
import pytest
from sidecar_double import (
    UNAVAILABLE,
    ScriptedSidecar,
    allowed,
    consumed,
    entitlements,
    never,
    refused,
    serving,
)

from weighbridge import Check, Client, Reason, RetryPolicy
from weighbridge import client as wb
from weighbridge.client.values import DecidedBy
from weighbridge.rules.catalog import FeatureType, LimitKind
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.window import Period, WindowKind
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2


async def test_check_sends_what_was_asked_and_returns_every_field(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    hint = types_pb2.UpgradeHint(
        plan="pro",
        name="Pro",
        offer=types_pb2.UpgradeOffer(message="Go Pro", url="https://example.com/pro"),
    )
    decision = refused(
        types_pb2.REASON_LIMIT_REACHED,
        limit_id="monthly",
        limit=100,
        used=98,
        remaining=2,
        window_start_unix_ms=1_767_225_600_000,
        window_end_unix_ms=1_769_904_000_000,
        resets_in_ms=90_500,
        retry_after_ms=90_500,
        upgrade_hints=[hint],
        snapshot_age_ms=20,
        decided_by=types_pb2.DECIDED_BY_CACHE,
        allowed_amount=2,
        catalog_version=3,
        snapshot_version=4,
    )
    sidecar.script = [pb.CheckResponse(decision=decision)]

    answer = await client.check("acme", "api.calls", 5, resource="ws1", value="eu")

    expected = pb.CheckRequest(
        customer="acme", resource="ws1", feature="api.calls", amount=5, value="eu"
    )
    assert sidecar.requests == [expected]
    assert answer == wb.Decision(
        allowed=False,
        reason=Reason.LIMIT_REACHED,
        feature="api.calls",
        limit_id="monthly",
        limit=100,
        used=98,
        remaining=2,
        window_start=datetime(2026, 1, 1, tzinfo=UTC),
        window_end=datetime(2026, 2, 1, tzinfo=UTC),
        resets_in=timedelta(seconds=90.5),
        retry_after=timedelta(seconds=90.5),
        upgrade_hints=(wb.UpgradeHint("pro", None, "Pro", "Go Pro", "https://example.com/pro"),),
        snapshot_age=timedelta(milliseconds=20),
        decided_by=DecidedBy.CACHE,
        max_overshoot=None,
        allowed_amount=2,
        catalog_version=3,
        snapshot_version=4,
    )
    assert not answer
    assert not answer.is_fallback


async def test_an_answer_that_was_asked_for_upstream_says_so(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    decision = pb.CheckResponse(decision=allowed()).decision
    decision.decided_by = types_pb2.DECIDED_BY_CONTROL_PLANE
    decision.max_overshoot = 0
    sidecar.script = [pb.CheckResponse(decision=decision)]

    answer = await client.check("acme", "api.calls")

    assert (answer.decided_by, answer.max_overshoot) == (DecidedBy.CONTROL_PLANE, 0)


async def test_an_amount_that_is_not_given_stays_unset(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [pb.CheckResponse(decision=allowed())] * 2
    assert await client.check("acme", "reports.export")
    assert await client.check("acme", "api.calls", 0)
    assert not sidecar.requests[0].HasField("amount")
    assert sidecar.requests[1].HasField("amount")


async def test_a_reason_of_a_newer_sidecar_is_still_a_refusal(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    newer = types_pb2.Decision.FromString(b"\x10\x63")  # reason = 99
    sidecar.script = [pb.CheckResponse(decision=newer)]
    answer = await client.check("acme", "api.calls")
    assert not answer.allowed
    assert answer.reason is None


async def test_batch_check_answers_in_order(client: Client, sidecar: ScriptedSidecar) -> None:
    decisions = [allowed(remaining=1), refused(types_pb2.REASON_FEATURE_NOT_IN_PLAN)]
    sidecar.script = [pb.BatchCheckResponse(decisions=decisions)]
    answers = await client.batch_check(
        [Check("acme", "api.calls", 2), Check("acme", "models", resource="ws1", value="large")]
    )
    assert [answer.allowed for answer in answers] == [True, False]
    assert answers[1].reason is Reason.FEATURE_NOT_IN_PLAN
    sent = sidecar.requests[0].checks
    assert sent[0] == pb.CheckRequest(customer="acme", feature="api.calls", amount=2)
    assert sent[1] == pb.CheckRequest(
        customer="acme", feature="models", resource="ws1", value="large"
    )


async def test_consume_sends_all_options_and_returns_the_receipt(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [consumed(replayed=True)]
    answer = await client.consume(
        "acme",
        "api.calls",
        3,
        resource="ws1",
        idempotency_key="job-1",
        idempotency_scope=wb.IdempotencyScope.FLEET,
        dimensions={"model": "large"},
    )
    assert answer
    assert answer.receipt == wb.Receipt("e1", 7, 3, 2, 1, is_replayed=True)
    assert sidecar.requests == [
        pb.ConsumeRequest(
            customer="acme",
            resource="ws1",
            feature="api.calls",
            amount=3,
            idempotency_key="job-1",
            idempotency_scope=types_pb2.IDEMPOTENCY_SCOPE_FLEET,
            dimensions={"model": "large"},
        )
    ]


async def test_a_refused_consume_is_a_value_without_receipt(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [pb.ConsumeResponse(decision=refused(types_pb2.REASON_LIMIT_REACHED))]
    answer = await client.consume("acme", "api.calls")
    assert not answer
    assert answer.receipt is None
    assert answer.decision.reason is Reason.LIMIT_REACHED


async def test_report_sends_when_it_happened(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [pb.ReportResponse(receipt=pb.Receipt(epoch="e1", record_number=8, amount=5))]
    at = datetime(2026, 1, 1, 1, 0, 0, 1999, tzinfo=timezone(timedelta(hours=1)))
    receipt = await client.report("acme", "tokens", 5, occurred_at=at)
    assert receipt.record_number == 8
    assert sidecar.requests[0].occurred_at_unix_ms == 1_767_225_600_001


async def test_entitlements(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [pb.GetEntitlementsResponse(entitlements=entitlements("pro"))]
    answer = await client.entitlements("acme")
    assert (answer.plan, answer.reason) == ("pro", None)
    assert answer.snapshot_age == timedelta(seconds=1.5)
    calls = answer.features["api.calls"]
    assert (calls.type, calls.unit, calls.enabled) == (FeatureType.METERED, "call", True)
    assert calls.limits == (
        wb.LimitUsage(
            id="monthly",
            kind=LimitKind.HARD,
            limit=1000,
            used=400,
            remaining=600,
            window=WindowKind.CALENDAR,
            period=Period.MONTH,
            time_zone="Europe/Paris",
            window_start=datetime(2026, 1, 1, tzinfo=UTC),
            window_end=datetime(2026, 2, 1, tzinfo=UTC),
        ),
    )
    assert answer.features["file.size"].number == 25


async def test_it_works_over_a_unix_socket(sidecar: ScriptedSidecar, tmp_path: Path) -> None:
    sidecar.script = [pb.CheckResponse(decision=allowed())]
    path = tmp_path / "s.sock"
    async with serving(sidecar, f"unix:{path}"), Client(f"unix://{path}", timeout_s=10) as client:
        assert await client.check("acme", "api.calls")


async def test_a_consume_is_repeated_with_one_key(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [UNAVAILABLE, UNAVAILABLE, consumed()]
    assert await client.consume("acme", "api.calls", 3)
    first, second, third = sidecar.requests
    assert first.idempotency_key
    assert first == second == third


async def test_each_consume_has_a_key_of_its_own(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [consumed(), consumed()]
    await client.consume("acme", "api.calls")
    await client.consume("acme", "api.calls")
    first, second = sidecar.requests
    assert first.idempotency_key != second.idempotency_key


async def test_the_callers_key_is_kept(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [UNAVAILABLE, pb.ReportResponse()]
    await client.report("acme", "api.calls", idempotency_key="mine")
    assert [request.idempotency_key for request in sidecar.requests] == ["mine", "mine"]


async def test_without_a_key_usage_is_sent_once(address: str, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [UNAVAILABLE, UNAVAILABLE, pb.CheckResponse(decision=allowed())]
    retry = RetryPolicy(generates_keys=False)
    async with Client(address, timeout_s=10, retry=retry) as client:
        with pytest.raises(wb.SidecarUnreachableError) as caught:
            await client.consume("acme", "api.calls")
        assert caught.value.idempotency_key is None
        assert [request.idempotency_key for request in sidecar.requests] == [""]
        assert await client.check("acme", "api.calls")  # repeated all the same
    assert len(sidecar.requests) == 3


async def test_attempts_are_counted(address: str, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [UNAVAILABLE] * 5
    async with Client(address, timeout_s=10, retry=RetryPolicy(attempts_max=2)) as client:
        with pytest.raises(wb.SidecarUnreachableError, match="journal cannot be written") as caught:
            await client.report("acme", "api.calls")
    assert len(sidecar.requests) == 2
    assert caught.value.idempotency_key == sidecar.requests[0].idempotency_key


async def test_no_attempt_after_the_deadline(address: str, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [UNAVAILABLE] * 5
    retry = RetryPolicy(backoff_ms_initial=60_000, backoff_ms_max=60_000)
    async with Client(address, timeout_s=20, retry=retry) as client:
        with pytest.raises(wb.SidecarUnreachableError):
            await client.check("acme", "api.calls")
    assert len(sidecar.requests) == 1


async def test_a_call_that_gets_no_answer_ends_with_its_timeout(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [never()]
    with pytest.raises(wb.SidecarUnreachableError, match="DEADLINE_EXCEEDED") as caught:
        await client.consume("acme", "api.calls", idempotency_key="mine", timeout_s=0.05)
    assert caught.value.idempotency_key == "mine"
    assert len(sidecar.requests) == 1


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, wb.InvalidArgumentError, "feature: is boolean"),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPreconditionError, "feature: is boolean"),
        (grpc.StatusCode.ABORTED, wb.KeyReusedError, "feature: is boolean"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, wb.OverloadedError, "sidecar at .*is boolean"),
        (grpc.StatusCode.UNIMPLEMENTED, wb.UnexpectedStatusError, "UNIMPLEMENTED.*is it a"),
        (grpc.StatusCode.INTERNAL, wb.UnexpectedStatusError, "INTERNAL"),
    ],
)
async def test_other_errors_are_raised_at_once(
    client: Client,
    sidecar: ScriptedSidecar,
    status: grpc.StatusCode,
    error: type[Exception],
    message: str,
) -> None:
    sidecar.script = [(status, "feature: is boolean")]
    with pytest.raises(error, match=message):
        await client.consume("acme", "api.calls", idempotency_key="mine")
    assert len(sidecar.requests) == 1


async def test_an_invalid_argument_names_its_field(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [
        (grpc.StatusCode.INVALID_ARGUMENT, "feature: is boolean"),
        (grpc.StatusCode.INVALID_ARGUMENT, "cannot be read"),
    ]
    for field in ("feature", "request"):
        with pytest.raises(wb.InvalidArgumentError) as caught:
            await client.consume("acme", "api.calls")
        assert caught.value.field == field


async def test_a_cancelled_task_cancels_its_call(client: Client, sidecar: ScriptedSidecar) -> None:
    asked = asyncio.Event()

    async def note_and_hang() -> None:
        asked.set()
        await asyncio.Event().wait()

    sidecar.script = [note_and_hang]
    task = asyncio.create_task(client.check("acme", "api.calls"))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_close_ends_calls_in_flight_without_cancelling_their_task(
    address: str, sidecar: ScriptedSidecar
) -> None:
    asked = asyncio.Event()

    async def note_and_hang() -> None:
        asked.set()
        await asyncio.Event().wait()

    sidecar.script = [note_and_hang]
    client = Client(address, timeout_s=10)
    task = asyncio.create_task(client.check("acme", "api.calls"))
    await asked.wait()
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await task
    with pytest.raises(RuntimeError, match="closed"):
        await client.check("acme", "api.calls")
    await client.close()


def test_one_client_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    client = Client(f"unix://{tmp_path}/s.sock", timeout_s=10)

    async def ask() -> bool:
        sidecar = ScriptedSidecar()
        sidecar.script = [pb.CheckResponse(decision=allowed())]
        async with serving(sidecar, f"unix:{tmp_path}/s.sock"):
            return (await client.check("acme", "api.calls")).allowed

    assert asyncio.run(ask())
    assert asyncio.run(ask())
