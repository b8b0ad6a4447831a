"""Quotes and refusals for money, in both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from sidecar_double import ScriptedSidecar, refused, serving

from weighbridge import Client, Reason, SyncClient
from weighbridge import client as wb
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

ITEMS = [wb.QuoteItem("tokens", 1_000, {"model": "small"}), wb.QuoteItem("images", 2)]


@pytest.fixture
def sidecar() -> ScriptedSidecar:
    return ScriptedSidecar()


@pytest.fixture
async def address(sidecar: ScriptedSidecar) -> AsyncIterator[str]:
    async with serving(sidecar, "127.0.0.1:0") as served:
        yield served


def response() -> pb.QuoteResponse:
    spend = types_pb2.SpendUsage(
        feature="spend",
        currency="USD",
        exponent=2,
        limit_micros=5_000_000_000,
        used_micros=4_999_999_999,
        remaining_micros=1,
    )
    decision = refused(types_pb2.REASON_SPEND_LIMIT_REACHED, limit_id="day", spend=spend)
    return pb.QuoteResponse(
        items=[
            pb.QuotedItem(
                decision=decision,
                amount=1_000,
                hold_money=[
                    pb.MoneyHold(feature="spend", currency="USD", exponent=2, micros=150_000)
                ],
                hold_credits=pb.QuotedCredits(credit_type="gems", micro=2_500_000),
            )
        ],
        lines=[
            pb.QuotedLine(
                price="tokens",
                feature="tokens",
                match={"model": "small"},
                amount=1_000,
                included_amount=400,
                charged_amount=600,
                cost="0.0009",
                is_used_assumed=True,
            )
        ],
        currency="USD",
        exponent=2,
        total="0.00",
        credits=[pb.QuotedCredits(credit_type="gems", micro=2_500_000)],
        unmatched_features=["images"],
        plan="pro",
        plan_version=3,
    )


async def test_a_quote(sidecar: ScriptedSidecar, address: str) -> None:
    sidecar.script = [response(), pb.QuoteResponse()]
    async with Client(address) as client:
        quote = await client.quote("acme", ITEMS, resource="ws-1", currency="USD")
        empty = await client.quote("acme", ITEMS)
    (request, _) = sidecar.requests
    assert (request.customer, request.resource, request.currency) == ("acme", "ws-1", "USD")
    assert [(i.feature, i.amount, dict(i.dimensions)) for i in request.items] == [
        ("tokens", 1_000, {"model": "small"}),
        ("images", 2, {}),
    ]
    (item,) = quote.items
    assert not quote
    assert item.decision.reason is Reason.SPEND_LIMIT_REACHED
    assert item.decision.spend == wb.SpendUsage(
        feature="spend",
        currency="USD",
        limit=Decimal(50),
        used=Decimal("49.99999999"),
        remaining=Decimal("0.00000001"),
    )
    money = wb.MoneyHold(feature="spend", currency="USD", amount=Decimal("0.0015"))
    gems = wb.CreditAmount(credit_type="gems", amount=Decimal("2.5"))
    assert (item.hold_money, item.hold_credits) == ((money,), gems)
    (line,) = quote.lines
    assert (line.price, line.add_on, line.cost, line.match) == (
        "tokens",
        None,
        Decimal("0.0009"),
        {"model": "small"},
    )
    assert (line.included_amount, line.charged_amount, line.is_used_assumed) == (400, 600, True)
    assert (quote.total, quote.currency, quote.credits) == (Decimal("0.00"), "USD", (gems,))
    assert (quote.plan, quote.plan_version, quote.unmatched_features) == ("pro", 3, ("images",))
    assert empty
    assert (empty.total, empty.currency, empty.plan) == (None, None, None)


async def test_a_quote_of_nothing_that_can_be_named(address: str) -> None:
    async with Client(address) as client:
        with pytest.raises(wb.InvalidArgumentError):
            await client.quote("acme", [wb.QuoteItem("to kens", 1)])
        with pytest.raises(wb.InvalidArgumentError):
            await client.quote("acme", [wb.QuoteItem("tokens", -1)])


async def test_the_sync_client_asks_alike(sidecar: ScriptedSidecar, address: str) -> None:
    sidecar.script = [response()]
    with SyncClient(address) as client:
        quote = await asyncio.to_thread(client.quote, "acme", ITEMS)
    assert quote.plan_version == 3
