"""What is answered while there is no sidecar, and addresses that cannot be one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sidecar_double import UNAVAILABLE, ScriptedSidecar, allowed, serving

from weighbridge import Check, Client, Reason, RetryPolicy, SyncClient
from weighbridge import client as wb
from weighbridge.client.address import sidecar_address
from weighbridge.client.values import DecidedBy
from weighbridge.v1 import sidecar_service_pb2 as pb

RETRY = RetryPolicy(backoff_ms_initial=1, backoff_ms_max=2)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Yield an address that refuses connections: bound, so that nobody else takes it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


async def test_by_default_an_absent_sidecar_is_an_error(nowhere: str) -> None:
    async with Client(nowhere, timeout_s=10, retry=RETRY) as client:
        with pytest.raises(wb.SidecarUnreachableError, match=nowhere):
            await client.check("acme", "api.calls")
        with pytest.raises(wb.SidecarUnreachableError) as caught:
            await client.consume("acme", "api.calls")
        assert caught.value.idempotency_key


@pytest.mark.parametrize(("choice", "is_allowed"), [("allow", True), ("deny", False)])
async def test_a_fallback_says_that_it_is_one(
    nowhere: str, choice: wb.WhenUnreachable, *, is_allowed: bool
) -> None:
    async with Client(nowhere, timeout_s=10, retry=RETRY, when_unreachable=choice) as client:
        decision = await client.check("acme", "api.calls")
        batch = await client.batch_check([Check("acme", "api.calls"), Check("acme", "seats")])
        consumption = await client.consume("acme", "api.calls")
    assert bool(decision) is is_allowed
    assert decision.decided_by is DecidedBy.CLIENT_FALLBACK
    assert decision.is_fallback
    assert decision.reason is (None if is_allowed else Reason.OUTAGE_POLICY)
    assert [item.feature for item in batch] == ["api.calls", "seats"]
    assert all(item.is_fallback and item.allowed is is_allowed for item in batch)
    assert (consumption.decision, consumption.receipt) == (decision, None)


@pytest.mark.parametrize("choice", ["allow", "deny"])
async def test_usage_and_entitlements_are_never_invented(
    nowhere: str, choice: wb.WhenUnreachable
) -> None:
    async with Client(nowhere, timeout_s=10, retry=RETRY, when_unreachable=choice) as client:
        with pytest.raises(wb.SidecarUnreachableError):
            await client.report("acme", "api.calls")
        with pytest.raises(wb.SidecarUnreachableError):
            await client.entitlements("acme")
        with pytest.raises(wb.SidecarUnreachableError):
            await anext(client.watch("acme", patience_s=0))


def test_the_sync_client_falls_back_alike(nowhere: str) -> None:
    with SyncClient(nowhere, timeout_s=10, retry=RETRY, when_unreachable="allow") as client:
        assert client.consume("acme", "api.calls").decision.is_fallback
        with pytest.raises(wb.SidecarUnreachableError):
            client.report("acme", "api.calls")


async def test_a_sidecar_that_answers_is_not_overruled(
    address: str, sidecar: ScriptedSidecar
) -> None:
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "feature: is not an id")
    sidecar.script = [invalid]
    async with Client(address, timeout_s=10, when_unreachable="allow") as client:
        with pytest.raises(wb.InvalidArgumentError):
            await client.check("acme", "api.calls")


async def test_a_sidecar_that_cannot_answer_now_counts_as_unreachable(
    address: str, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [UNAVAILABLE] * 3
    async with Client(address, timeout_s=10, retry=RETRY, when_unreachable="deny") as client:
        assert (await client.check("acme", "api.calls")).is_fallback
    assert len(sidecar.requests) == 3


async def test_it_finds_a_sidecar_that_starts_later(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/s.sock"
    sidecar = ScriptedSidecar()
    sidecar.script = [pb.CheckResponse(decision=allowed())]
    retry = RetryPolicy(attempts_max=10_000, backoff_ms_initial=10, backoff_ms_max=50)
    async with Client(address, timeout_s=30, retry=retry) as client:
        with pytest.raises(wb.SidecarUnreachableError):
            await client.check("acme", "api.calls", timeout_s=0.01)
        async with serving(sidecar, address.replace("unix://", "unix:")):
            assert await client.check("acme", "api.calls")


def test_the_address_is_argument_then_environment_then_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WEIGHBRIDGE_SIDECAR", raising=False)
    assert sidecar_address(None) == "127.0.0.1:7700"
    monkeypatch.setenv("WEIGHBRIDGE_SIDECAR", "")
    assert sidecar_address(None) == "127.0.0.1:7700"
    monkeypatch.setenv("WEIGHBRIDGE_SIDECAR", "unix:///run/weighbridge/sidecar.sock")
    assert sidecar_address(None) == "unix:/run/weighbridge/sidecar.sock"
    assert sidecar_address("localhost:1") == "localhost:1"
    assert sidecar_address("unix:/run/s.sock") == "unix:/run/s.sock"
    assert sidecar_address("[::1]:7700") == "[::1]:7700"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        ":7700",
        "localhost:0",
        "localhost:65536",
        "http://localhost:7700",
        "::1:7700",
        "host name:7700",
        "unix:",
        "unix://",
        "unix://relative.sock",
        "unix:relative.sock",
        "unix:///run/",
        "unix:////run/s.sock",
        "unix:///" + "x" * 107,
    ],
)
def test_bad_addresses_are_refused_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(wb.InvalidArgumentError) as caught:
        Client(address)
    assert caught.value.field == "address"
    monkeypatch.setenv("WEIGHBRIDGE_SIDECAR", address or "x")
    with pytest.raises(wb.InvalidArgumentError) as caught:
        SyncClient()
    assert caught.value.field == "WEIGHBRIDGE_SIDECAR"


async def test_a_release_is_never_invented(nowhere: str) -> None:
    async with Client(nowhere, timeout_s=10, retry=RETRY, when_unreachable="allow") as client:
        assert (await client.acquire("acme", "seats")).decision.is_fallback
        with pytest.raises(wb.SidecarUnreachableError):
            await client.release("acme", "seats")
        # What is not known to be held is not given back.
        async with client.allocation("acme", "seats") as held:
            assert held.decision.is_fallback
    sync_client = SyncClient(nowhere, timeout_s=10, retry=RETRY, when_unreachable="allow")
    with sync_client, pytest.raises(wb.SidecarUnreachableError):
        sync_client.release("acme", "seats")
