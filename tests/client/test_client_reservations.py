"""Reserving, extending, settling and releasing with both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from sidecar_double import UNAVAILABLE, ScriptedSidecar, allowed, refused, serving

from weighbridge import Client, RetryPolicy, SyncClient
from weighbridge import client as wb
from weighbridge.rules.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

REFUSED = pb.ReserveResponse(decision=refused(types_pb2.REASON_LIMIT_REACHED, allowed_amount=3))
RELEASED = pb.ReleaseResponse(released_amount=10)
CLOSED = "127.0.0.1:1"


def held(amount: int = 10, id_: str = "r1") -> pb.ReserveResponse:
    hold = pb.Reservation(id=id_, amount=amount, expires_at_unix_ms=1_767_225_600_000)
    return pb.ReserveResponse(decision=allowed(reserved=amount), reservation=hold)


def settled(amount: int, **fields: Any) -> pb.SettleResponse:
    return pb.SettleResponse(receipt=pb.Receipt(epoch="e1", amount=amount), **fields)


@pytest.fixture(name="sync")
async def sync_client(address: str) -> AsyncIterator[SyncClient]:
    with SyncClient(address, timeout_s=10) as client:
        yield client


async def test_a_reservation_is_extended_and_settled(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    hold = pb.Reservation(id="r1", amount=20, expires_at_unix_ms=1_767_225_600_000)
    sidecar.script = [
        held(),
        pb.ExtendResponse(decision=allowed(), reservation=hold),
        settled(22, excess_amount=2, uncharged_amount=1, had_expired=True, replayed=True),
        RELEASED,
    ]
    reserved = await client.reserve(
        "acme", "tokens", 10, reservation="r1", ttl_s=60, resource="ws", dimensions={"model": "m"}
    )
    assert reserved
    assert reserved.reservation == wb.Reservation("r1", 10, datetime(2026, 1, 1, tzinfo=UTC))
    assert reserved.decision.reserved == 10
    extended = await client.extend("acme", "r1", 20, ttl_s=90)
    assert extended.reservation is not None
    assert extended.reservation.amount == 20
    settlement = await client.settle("acme", "r1", 22)
    assert settlement.receipt.amount == 22
    assert settlement.receipt.is_replayed
    assert (settlement.had_expired, settlement.excess_amount) == (True, 2)
    assert settlement.uncharged_amount == 1
    assert await client.release_reservation("acme", "r1") == wb.Released(10, False, False)
    assert sidecar.requests == [
        pb.ReserveRequest(
            customer="acme",
            resource="ws",
            feature="tokens",
            amount=10,
            reservation="r1",
            ttl_ms=60_000,
            dimensions={"model": "m"},
        ),
        pb.ExtendRequest(customer="acme", reservation="r1", amount=20, ttl_ms=90_000),
        pb.SettleRequest(customer="acme", reservation="r1", amount=22),
        pb.ReleaseRequest(customer="acme", reservation="r1"),
    ]


async def test_retries_of_one_reservation_have_one_id(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [UNAVAILABLE, held(), UNAVAILABLE, settled(1), UNAVAILABLE, RELEASED]
    await client.reserve("acme", "tokens")
    await client.settle("acme", "r1", 1)
    await client.release_reservation("acme", "r1")
    first, second = sidecar.requests[:2]
    assert first == second
    assert len(first.reservation) == 32
    assert len(sidecar.requests) == 6


async def test_a_block_settles_what_it_says(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [held(), settled(7)]
    async with client.reservation("acme", "tokens", 10) as hold:
        assert hold
        settlement = await hold.settle(7)
        assert settlement.receipt.amount == 7
    reserve, settle = sidecar.requests
    assert settle == pb.SettleRequest(customer="acme", reservation=reserve.reservation, amount=7)


async def test_a_block_that_says_nothing_releases(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [held(), RELEASED, held(), RELEASED, held(), RELEASED]
    async with client.reservation("acme", "tokens", 10):
        pass
    async with client.reservation("acme", "tokens", 10) as hold:
        assert (await hold.release()).amount == 10

    async def fail() -> None:
        async with client.reservation("acme", "tokens", 10, reservation="mine"):
            raise RuntimeError("work failed")

    with pytest.raises(RuntimeError, match="work failed"):
        await fail()
    released = pb.ReleaseRequest(customer="acme", reservation="mine")
    assert sidecar.requests[-1] == released
    assert [type(r).__name__ for r in sidecar.requests] == ["ReserveRequest", "ReleaseRequest"] * 3


async def test_work_that_fails_is_charged_what_it_said(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    sidecar.script = [held(), settled(4)]

    async def fail() -> None:
        async with client.reservation("acme", "tokens", 10) as hold:
            hold.used = 4
            raise RuntimeError("work failed")

    with pytest.raises(RuntimeError):
        await fail()
    assert sidecar.requests[1].amount == 4


async def test_what_the_work_raised_is_not_hidden_by_a_release_that_failed(
    address: str, sidecar: ScriptedSidecar
) -> None:
    async with Client(address, retry=RetryPolicy(attempts_max=1)) as client:
        sidecar.script = [held(), UNAVAILABLE, held(), UNAVAILABLE]

        async def fail() -> None:
            async with client.reservation("acme", "tokens", 10):
                raise RuntimeError("work failed")

        with pytest.raises(RuntimeError, match="work failed") as caught:
            await fail()
        assert "could not be ended" in caught.value.__notes__[0]
        with pytest.raises(wb.SidecarUnreachableError):
            async with client.reservation("acme", "tokens", 10):
                pass


async def test_a_refusal_holds_nothing(client: Client, sidecar: ScriptedSidecar) -> None:
    sidecar.script = [REFUSED]
    async with client.reservation("acme", "tokens", 10) as hold:
        assert not hold
        assert hold.reservation is None
        assert hold.decision.allowed_amount == 3
        with pytest.raises(RuntimeError, match="nothing is held"):
            await hold.settle(1)
    assert len(sidecar.requests) == 1


async def test_a_refused_extension_leaves_the_hold_as_it_is(
    client: Client, sidecar: ScriptedSidecar
) -> None:
    refusal = pb.ExtendResponse(
        decision=refused(types_pb2.REASON_LIMIT_REACHED), reservation=held().reservation
    )
    larger = pb.ExtendResponse(decision=allowed(), reservation=held(30).reservation)
    sidecar.script = [held(), refusal, larger, RELEASED]
    async with client.reservation("acme", "tokens", 10) as hold:
        assert not await hold.extend(20)
        assert hold
        assert await hold.extend(30, ttl_s=5)
        assert hold.reservation is not None
        assert hold.reservation.amount == 30


async def test_work_that_a_fallback_allowed_is_reported(sidecar: ScriptedSidecar) -> None:
    async with Client(CLOSED, timeout_s=0.2, when_unreachable="deny") as client:
        assert not await client.reserve("acme", "tokens")
    async with (
        Client(CLOSED, timeout_s=0.2, when_unreachable="allow") as client,
        client.reservation("acme", "tokens", 10, resource="ws") as hold,
    ):
        assert hold
        assert hold.decision.is_fallback
        with pytest.raises(wb.SidecarUnreachableError) as caught:
            await hold.settle(3)
        assert caught.value.idempotency_key == hold.id
        async with serving(sidecar, "127.0.0.1:0") as address:
            sidecar.script = [pb.ReportResponse(receipt=pb.Receipt(amount=3))]
            # It came back.
            client._policy = Client(address)._policy
            client._connections.clear()
            assert (await hold.settle(3)).receipt.amount == 3
    (report,) = sidecar.requests
    assert (report.idempotency_key, report.resource, report.amount) == (hold.id, "ws", 3)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExistsError),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPreconditionError),
        (grpc.StatusCode.ABORTED, wb.KeyReusedError),
    ],
)
async def test_broken_calls_raise(
    client: Client, sidecar: ScriptedSidecar, code: grpc.StatusCode, error: type[Exception]
) -> None:
    sidecar.script = [(code, "the words of the sidecar")]
    with pytest.raises(error, match="the words of the sidecar"):
        await client.settle("acme", "r1", 1)


async def test_what_cannot_be_asked_is_found_before_sending(client: Client) -> None:
    for field, call in (
        ("amount", client.reserve("acme", "tokens", -1)),
        ("ttl_s", client.reserve("acme", "tokens", ttl_s=-1)),
        ("reservation", client.reserve("acme", "tokens", reservation="a b")),
        ("reservation", client.settle("acme", "", 1)),
        ("amount", client.extend("acme", "r", -1)),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            await call
        assert caught.value.field == field
    with pytest.raises(TypeError, match="ttl"):
        await client.reserve("acme", "tokens", ttl=5)  # type: ignore[call-arg]


async def test_the_sync_client_does_the_same(sync: SyncClient, sidecar: ScriptedSidecar) -> None:
    extended = pb.ExtendResponse(decision=allowed(), reservation=held(20).reservation)
    sidecar.script = [held(), extended, settled(7), RELEASED]
    sidecar.script += [held(), extended, settled(5), held(), RELEASED, held(), RELEASED, held()]
    sidecar.script += [settled(2)]

    def fail() -> None:
        with sync.reservation("acme", "tokens") as hold:
            hold.used = 2
            raise RuntimeError("work failed")

    def work() -> None:
        assert sync.reserve("acme", "tokens", 10, reservation="r1")
        assert sync.extend("acme", "r1", 20)
        assert sync.settle("acme", "r1", 7).receipt.amount == 7
        assert sync.release_reservation("acme", "r1").amount == 10
        with sync.reservation("acme", "tokens", 10) as hold:
            assert hold.extend(20)
            hold.settle(5)
        with sync.reservation("acme", "tokens", 10):
            pass
        with sync.reservation("acme", "tokens", 10) as hold:
            hold.release()
        with pytest.raises(RuntimeError, match="work failed"):
            fail()

    await asyncio.to_thread(work)
    names = [type(request).__name__.removesuffix("Request") for request in sidecar.requests]
    assert names == [
        *("Reserve", "Extend", "Settle", "Release"),
        *("Reserve", "Extend", "Settle"),
        *("Reserve", "Release", "Reserve", "Release", "Reserve", "Settle"),
    ]
