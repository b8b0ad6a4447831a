"""Credits over a real connection: grants, charges, refunds, balances, entries, verification."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from admin_server import AdminServer
from provisioned import CATALOG, NOW_MS
from sqlalchemy import text

from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import credit_service_pb2 as pb
from weighbridge.v1 import types_pb2

if TYPE_CHECKING:
    from weighbridge.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from weighbridge.v1.credit_service_pb2_grpc import CreditServiceAsyncStub

CREDIT = 1_000_000


@pytest.fixture
async def credit(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: admin_pb.Customer
) -> AsyncIterator[CreditServiceAsyncStub]:
    document = CATALOG + "credit_types: {tokens: {}}\n"
    await admin.ApplyCatalog(admin_pb.ApplyCatalogRequest(document=document, source_name="c.yaml"))
    async with server.credit_stub() as stub:
        yield stub


def grant(key: str, amount: int = 10 * CREDIT, **more: object) -> pb.GrantCreditsRequest:
    return pb.GrantCreditsRequest(
        customer="acme", credit_type="tokens", key=key, kind=types_pb2.CREDIT_GRANT_KIND_PREPAID,
        amount_micro=amount, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def charge(key: str, amount: int, **more: object) -> pb.ChargeCreditsRequest:
    return pb.ChargeCreditsRequest(
        customer="acme", credit_type="tokens", key=key, amount_micro=amount,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


async def balance(stub: CreditServiceAsyncStub, at_ms: int | None = None) -> pb.CreditBalance:
    request = pb.GetBalancesRequest(customer="acme", at_unix_ms=at_ms)
    (found,) = (await stub.GetBalances(request)).balances
    return found


async def test_credits_from_grant_to_refund(
    server: AdminServer, credit: CreditServiceAsyncStub
) -> None:
    paid = pb.PricePaid(currency="USD", amount_minor=999)
    made = await credit.GrantCredits(grant("g", expires_at_unix_ms=NOW_MS + 10, price_paid=paid))
    assert (made.transaction.number, made.repeated_key) == (1, False)
    assert (await credit.GrantCredits(
        grant("g", expires_at_unix_ms=NOW_MS + 10, price_paid=paid))).repeated_key  # fmt: skip
    usage = pb.UsageReference(event_key="order", sidecar_id="sc", epoch="e", record_number=4)
    server.clock = lambda: NOW_MS + 1
    spent = await credit.ChargeCredits(charge("c", 4 * CREDIT, usage=usage))
    assert spent.transaction.usage == usage
    server.clock = lambda: NOW_MS + 2
    request = pb.RefundCreditsRequest(
        customer="acme", key="r", of_key="c", amount_micro=CREDIT, note="late answer"
    )
    refunded = await credit.RefundCredits(request)
    assert (refunded.transaction.kind, refunded.transaction.reverses) == (pb.ENTRY_KIND_REFUND, 2)

    now = await balance(credit)
    assert (now.available_micro, now.reserved_micro, now.settled_micro) == (
        7 * CREDIT, 0, 3 * CREDIT,
    )  # fmt: skip
    then = await balance(credit, NOW_MS + 1)
    assert (then.available_micro, then.settled_micro) == (6 * CREDIT, 4 * CREDIT)
    assert not then.HasField("reserved_micro")
    (held,) = (await credit.ListGrants(pb.ListGrantsRequest(customer="acme"))).grants
    assert (held.id, held.balance_micro, held.price_paid) == (1, 7 * CREDIT, paid)
    request = pb.ListLedgerRequest(customer="acme", event_key="order")
    explained = (await credit.ListLedger(request)).transactions
    assert [each.number for each in explained] == [3, 2]
    assert [(each.account, each.amount_micro) for each in explained[1].entries] == [
        ("grant:1", -4 * CREDIT), ("spent", 4 * CREDIT),
    ]  # fmt: skip


async def test_pages_of_entries(credit: CreditServiceAsyncStub) -> None:
    for number in range(5):
        await credit.GrantCredits(grant(f"g{number}"))
    numbers, token = [], ""
    while True:
        request = pb.ListLedgerRequest(
            customer="acme", credit_type="tokens", page_size=2, page_token=token
        )
        page = await credit.ListLedger(request)
        numbers += [each.number for each in page.transactions]
        token = page.next_page_token
        if not token:
            break
    assert numbers == [5, 4, 3, 2, 1]


async def test_adjustments(credit: CreditServiceAsyncStub) -> None:
    await credit.GrantCredits(grant("g"))
    request = pb.AdjustGrantRequest(
        customer="acme", credit_type="tokens", key="a", grant=1, change_micro=-10 * CREDIT
    )
    assert not (await credit.AdjustGrant(request)).repeated_key
    assert (await credit.AdjustGrant(request)).repeated_key
    assert not (await credit.ListGrants(pb.ListGrantsRequest(customer="acme"))).grants
    request = pb.ListGrantsRequest(customer="acme", credit_type="tokens", with_empty=True)
    assert len((await credit.ListGrants(request)).grants) == 1
    assert (await balance(credit)).withdrawn_micro == 10 * CREDIT


async def test_errors_say_what_is_wrong(credit: CreditServiceAsyncStub) -> None:
    await credit.GrantCredits(grant("g"))
    wrong = [
        (credit.GrantCredits(grant("~g")), "INVALID_ARGUMENT", "key: '~g' begins with ~"),
        (credit.GrantCredits(grant("g", 5)), "ABORTED", "key: 'g' is that of transaction 1"),
        (
            credit.GrantCredits(
                pb.GrantCreditsRequest(
                    customer="acme",
                    credit_type="tokns",
                    key="k",
                    kind=types_pb2.CREDIT_GRANT_KIND_MANUAL,
                    amount_micro=1,
                )
            ),
            "NOT_FOUND",
            "credit type 'tokns' is not in catalog 'api'; it has tokens",
        ),
        (credit.GrantCredits(grant("")), "INVALID_ARGUMENT", "key: is empty"),
        (
            credit.GrantCredits(pb.GrantCreditsRequest(customer="acme", key="k")),
            "INVALID_ARGUMENT",
            "kind: is not set",
        ),
        (credit.ChargeCredits(charge("c", 11 * CREDIT)), "FAILED_PRECONDITION", "lacks 1000000 of"),
        (
            credit.RefundCredits(pb.RefundCreditsRequest(customer="acme", key="r", of_key="x")),
            "NOT_FOUND",
            "no transaction with key 'x'",
        ),
        (
            credit.RefundCredits(pb.RefundCreditsRequest(customer="acme", key="r")),
            "INVALID_ARGUMENT",
            "of_key: is empty",
        ),
        (credit.GetBalances(pb.GetBalancesRequest(customer="nobody")), "NOT_FOUND", "'nobody'"),
        (
            credit.ListLedger(pb.ListLedgerRequest(customer="acme", page_token="x")),
            "INVALID_ARGUMENT",
            "page_token: is not one",
        ),
        (
            credit.ListLedger(pb.ListLedgerRequest(customer="acme", page_size=1001)),
            "INVALID_ARGUMENT",
            "page_size: 1001",
        ),
    ]
    for call, status, message in wrong:
        with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
            await call
        assert caught.value.code().name == status


async def test_verification_names_what_differs(
    server: AdminServer, credit: CreditServiceAsyncStub
) -> None:
    await credit.GrantCredits(grant("g"))
    response = await credit.VerifyLedgers(pb.VerifyLedgersRequest())
    assert (response.ledgers, response.transactions, response.entries) == (1, 1, 2)
    assert not response.differences
    with server.database.writing() as connection:
        connection.execute(text("UPDATE credit_grant SET balance = balance + 1"))
    (difference,) = (await credit.VerifyLedgers(pb.VerifyLedgersRequest())).differences
    assert (difference.table, difference.row) == ("credit_grant", "acme/tokens/grant 1 balance")
    assert (difference.expected, difference.found) == ("10000000", "10000001")


async def test_calls_need_the_token_of_administration(server: AdminServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/weighbridge.v1.CreditService/ListGrants")
        metadata = (("authorization", f"Bearer {server.sync_token}"),)
        with pytest.raises(grpc.aio.AioRpcError, match="of role sync"):
            await call(b"", metadata=metadata)
