"""The sync client on a channel of grpcio-testing, and once over a real connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import grpc
import grpc_testing
import pytest
from sidecar_double import ScriptedSidecar, allowed, consumed, entitlements, refused, serving

from weighbridge import Check, Reason, RetryPolicy, SyncClient
from weighbridge import client as wb
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

SERVICE = pb.DESCRIPTOR.services_by_name["SidecarService"]
WAIT_S = 30


class Wire:
    """Runs calls of the client in a thread, and plays the sidecar for them."""

    def __init__(self) -> None:
        time = grpc_testing.strict_real_time()
        self.channel = grpc_testing.channel([SERVICE], time)

    def start(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 (raised again by `result`)
                future.set_exception(error)

        # A daemon, since a call that nobody answers must not keep a failed test run alive.
        threading.Thread(target=run, daemon=True).start()
        return future

    def take(self, method: str) -> tuple[Any, Any]:
        _, request, rpc = self.channel.take_unary_unary(SERVICE.methods_by_name[method])
        rpc.send_initial_metadata(())
        return request, rpc

    def take_watch(self) -> tuple[Any, Any]:
        _, request, rpc = self.channel.take_unary_stream(SERVICE.methods_by_name["Watch"])
        rpc.send_initial_metadata(())
        return request, rpc


def answer(rpc: Any, reply: Any) -> None:
    rpc.terminate(reply, (), grpc.StatusCode.OK, "")


def fail(rpc: Any, code: grpc.StatusCode, details: str = "the journal cannot be written") -> None:
    rpc.terminate(None, (), code, details)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def client(wire: Wire) -> SyncClient:
    return SyncClient(channel=wire.channel, timeout_s=WAIT_S)


def test_check(wire: Wire, client: SyncClient) -> None:
    asked = wire.start(lambda: client.check("acme", "api.calls", 2, resource="ws1"))
    request, rpc = wire.take("Check")
    assert request == pb.CheckRequest(
        customer="acme", resource="ws1", feature="api.calls", amount=2
    )
    answer(rpc, pb.CheckResponse(decision=refused(types_pb2.REASON_REVOKED)))
    decision = asked.result(WAIT_S)
    assert not decision
    assert decision.reason is Reason.REVOKED


def test_batch_check(wire: Wire, client: SyncClient) -> None:
    asked = wire.start(lambda: client.batch_check([Check("acme", "a"), Check("acme", "b")]))
    request, rpc = wire.take("BatchCheck")
    assert [check.feature for check in request.checks] == ["a", "b"]
    answer(rpc, pb.BatchCheckResponse(decisions=[allowed(), allowed()]))
    assert all(asked.result(WAIT_S))


def test_a_consume_is_repeated_with_one_key(wire: Wire, client: SyncClient) -> None:
    asked = wire.start(lambda: client.consume("acme", "api.calls", 3))
    first, rpc = wire.take("Consume")
    fail(rpc, grpc.StatusCode.UNAVAILABLE)
    second, rpc = wire.take("Consume")
    answer(rpc, consumed())
    assert asked.result(WAIT_S).receipt.record_number == 7
    assert first.idempotency_key
    assert first == second


def test_report_and_entitlements(wire: Wire, client: SyncClient) -> None:
    reported = wire.start(lambda: client.report("acme", "tokens", 12, dimensions={"model": "s"}))
    request, rpc = wire.take("Report")
    assert (request.amount, dict(request.dimensions)) == (12, {"model": "s"})
    answer(rpc, pb.ReportResponse(receipt=pb.Receipt(amount=12)))
    assert reported.result(WAIT_S).amount == 12

    listed = wire.start(lambda: client.entitlements("acme", resource="ws1"))
    request, rpc = wire.take("GetEntitlements")
    assert request == pb.GetEntitlementsRequest(customer="acme", resource="ws1")
    answer(rpc, pb.GetEntitlementsResponse(entitlements=entitlements("pro")))
    assert listed.result(WAIT_S).plan == "pro"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, wb.InvalidArgumentError),
        (grpc.StatusCode.ABORTED, wb.KeyReusedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, wb.OverloadedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, wb.SidecarUnreachableError),
        (grpc.StatusCode.UNIMPLEMENTED, wb.UnexpectedStatusError),
    ],
)
def test_what_is_raised_at_once(
    wire: Wire, client: SyncClient, code: grpc.StatusCode, error: type[Exception]
) -> None:
    asked = wire.start(lambda: client.consume("acme", "api.calls"))
    _, rpc = wire.take("Consume")
    fail(rpc, code)
    with pytest.raises(error):
        asked.result(WAIT_S)


def test_the_last_failure_is_raised(wire: Wire) -> None:
    client = SyncClient(channel=wire.channel, timeout_s=WAIT_S, retry=RetryPolicy(attempts_max=2))
    asked = wire.start(lambda: client.check("acme", "api.calls"))
    for details in ("first", "second"):
        _, rpc = wire.take("Check")
        fail(rpc, grpc.StatusCode.UNAVAILABLE, details)
    with pytest.raises(wb.SidecarUnreachableError, match="second"):
        asked.result(WAIT_S)


def test_watch_comes_back_after_a_lost_stream(wire: Wire, client: SyncClient) -> None:
    changes = client.watch("acme", patience_s=None)
    change = wire.start(lambda: next(changes))
    request, rpc = wire.take_watch()
    assert request == pb.WatchRequest(customer="acme")
    rpc.send_response(pb.WatchResponse(entitlements=entitlements("free")))
    assert change.result(WAIT_S).plan == "free"
    change = wire.start(lambda: next(changes))
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "gone")
    _, rpc = wire.take_watch()
    rpc.send_response(pb.WatchResponse(entitlements=entitlements("pro")))
    assert change.result(WAIT_S).plan == "pro"
    changes.close()
    rpc.cancelled()


def test_watch_raises_when_patience_has_run_out(wire: Wire, client: SyncClient) -> None:
    asked = wire.start(lambda: next(client.watch("acme", patience_s=0)))
    _, rpc = wire.take_watch()
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "gone")
    with pytest.raises(wb.SidecarUnreachableError, match="gone"):
        asked.result(WAIT_S)


async def test_over_a_real_connection() -> None:
    sidecar = ScriptedSidecar()
    sidecar.script = [pb.CheckResponse(decision=allowed()), consumed()]
    two_changes = [pb.WatchResponse(entitlements=entitlements("free"))] * 2
    sidecar.streams = [two_changes]

    def use(address: str) -> list[Any]:
        with SyncClient(address, timeout_s=WAIT_S) as client:
            answers = [client.check("acme", "api.calls"), client.consume("acme", "api.calls", 3)]
            changes = client.watch("acme")
            answers += [next(changes), next(changes)]
            client.close()
            answers += list(changes)
        with pytest.raises(RuntimeError, match="closed"):
            client.check("acme", "api.calls")
        with pytest.raises(RuntimeError, match="closed"):
            next(client.watch("acme"))
        return answers

    async with serving(sidecar, "127.0.0.1:0") as address:
        answers = await asyncio.to_thread(use, address)
    assert all(answers)
    assert len(answers) == 4
