"""The credit service: each change a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from control_plane import crediting
from control_plane.api.wrapping import Context
from control_plane.crediting import Book, LedgerId, NewGrant, Reversal, Transaction, open_book
from control_plane.crediting.ordering import confirm_order, fail_order, list_orders
from control_plane.crediting.queries import (
    balances,
    balances_at,
    list_grants,
    list_transactions,
)
from control_plane.crediting.verifying import verify_ledgers
from control_plane.leasing.credits import spendable
from control_plane.provisioning import CatalogLibrary
from control_plane.provisioning.changing import require_customer
from control_plane.provisioning.checks import named_few, require_instant
from control_plane.storage.database import Database
from control_plane.wire import ledger as wire
from control_plane.wire import top_ups
from weighbridge.rules.errors import NotFoundError
from weighbridge.v1 import credit_service_pb2 as pb
from weighbridge.v1 import credit_service_pb2_grpc


class CreditService(credit_service_pb2_grpc.CreditServiceServicer):
    """Changes and queries. Errors pass through: `control_plane.api.errors` answers them."""

    def __init__(
        self, database: Database, library: CatalogLibrary, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._library = library
        self._now_ms = now_ms
        # Told what can be spent of a ledger after each change of it.
        self.on_filled: Callable[[LedgerId, int], None] = _ignore

    async def GrantCredits(
        self, request: pb.GrantCreditsRequest, context: Context
    ) -> pb.GrantCreditsResponse:
        ledger, new = wire.grant_from_proto(request)
        posted = await self._post(ledger, lambda book: self._grant(book, new))
        return pb.GrantCreditsResponse(
            transaction=wire.transaction_to_proto(posted), repeated_key=posted.is_repeated
        )

    async def AdjustGrant(
        self, request: pb.AdjustGrantRequest, context: Context
    ) -> pb.AdjustGrantResponse:
        ledger, wanted = wire.adjustment_from_proto(request)
        posted = await self._post(ledger, lambda book: crediting.adjust_grant(book, wanted))
        return pb.AdjustGrantResponse(
            transaction=wire.transaction_to_proto(posted), repeated_key=posted.is_repeated
        )

    async def ListGrants(
        self, request: pb.ListGrantsRequest, context: Context
    ) -> pb.ListGrantsResponse:
        grants = await self._database.read(
            lambda connection: list_grants(
                connection, request.customer, request.credit_type, with_empty=request.with_empty
            )
        )
        return pb.ListGrantsResponse(grants=[wire.stored_grant_to_proto(each) for each in grants])

    async def ChargeCredits(
        self, request: pb.ChargeCreditsRequest, context: Context
    ) -> pb.ChargeCreditsResponse:
        ledger, wanted = wire.charge_from_proto(request)
        posted = await self._post(ledger, lambda book: crediting.charge(book, wanted))
        return pb.ChargeCreditsResponse(
            transaction=wire.transaction_to_proto(posted), repeated_key=posted.is_repeated
        )

    async def RefundCredits(
        self, request: pb.RefundCreditsRequest, context: Context
    ) -> pb.RefundCreditsResponse:
        wanted = wire.reversal_from_proto(request)
        posted = self._posted(
            *await self._database.write(
                lambda connection: self._refund(connection, request.customer, wanted)
            )
        )
        return pb.RefundCreditsResponse(
            transaction=wire.transaction_to_proto(posted), repeated_key=posted.is_repeated
        )

    async def GetBalances(
        self, request: pb.GetBalancesRequest, context: Context
    ) -> pb.GetBalancesResponse:
        customer, credit_type = request.customer, request.credit_type
        if not request.HasField("at_unix_ms"):
            found = await self._database.read(
                lambda connection: balances(connection, customer, credit_type, self._now_ms())
            )
            return wire.balances_to_proto(found, is_now=True)
        at_ms = require_instant("at_unix_ms", request.at_unix_ms)
        found = await self._database.read(
            lambda connection: balances_at(connection, customer, credit_type, at_ms)
        )
        return wire.balances_to_proto(found, is_now=False)

    async def ListLedger(
        self, request: pb.ListLedgerRequest, context: Context
    ) -> pb.ListLedgerResponse:
        query = wire.entry_query_from_proto(request)
        page = await self._database.read(lambda connection: list_transactions(connection, query))
        return wire.transaction_page_to_proto(page)

    async def VerifyLedgers(
        self, request: pb.VerifyLedgersRequest, context: Context
    ) -> pb.VerifyLedgersResponse:
        return wire.verification_to_proto(await self._database.read(verify_ledgers))

    async def ListTopUps(
        self, request: pb.ListTopUpsRequest, context: Context
    ) -> pb.ListTopUpsResponse:
        query = top_ups.order_query_from_proto(request)
        found = await self._database.read(lambda connection: list_orders(connection, query))
        return top_ups.orders_to_proto(found, query.page_size - 1)

    async def ConfirmTopUp(
        self, request: pb.ConfirmTopUpRequest, context: Context
    ) -> pb.ConfirmTopUpResponse:
        price = top_ups.price_from_proto(request)
        order, is_repeated = await self._database.write(
            lambda connection: confirm_order(
                connection, request.order, request.payment_id, price, self._now_ms()
            )
        )
        return pb.ConfirmTopUpResponse(
            order=top_ups.order_to_proto(order), repeated_key=is_repeated
        )

    async def FailTopUp(
        self, request: pb.FailTopUpRequest, context: Context
    ) -> pb.FailTopUpResponse:
        order = await self._database.write(
            lambda connection: fail_order(connection, request.order, request.reason, self._now_ms())
        )
        return pb.FailTopUpResponse(order=top_ups.order_to_proto(order))

    async def _post(self, ledger: LedgerId, work: Callable[[Book], Transaction]) -> Transaction:
        def post(connection: Connection) -> tuple[Transaction, int]:
            with open_book(connection, ledger, self._now_ms()) as book:
                return work(book), spendable(book)

        return self._posted(*await self._database.write(post))

    def _posted(self, transaction: Transaction, available: int) -> Transaction:
        """Tell of what can be spent now: a grant or a refund ends refusals at once."""
        if available:
            self.on_filled(transaction.ledger, available)
        return transaction

    def _grant(self, book: Book, new: NewGrant) -> Transaction:
        # Asked first: a repeat gets its answer also where the catalog has the type no more.
        if not book.has(new.key):
            self._require_type(book)
        return crediting.create_grant(book, new)

    def _require_type(self, book: Book) -> None:
        row = require_customer(book.connection, "customer", book.ledger.customer)
        catalog = self._library.load(book.connection, row.catalog_id)
        if book.ledger.credit_type not in catalog.credit_types:
            raise NotFoundError(
                f"credit type {book.ledger.credit_type!r} is not in catalog {catalog.id!r}; "
                f"it has {named_few(catalog.credit_types)}"
            )

    def _refund(
        self, connection: Connection, customer: str, wanted: Reversal
    ) -> tuple[Transaction, int]:
        original = crediting.require_transaction(connection, customer, wanted.of_key)
        with open_book(connection, original.ledger, self._now_ms()) as book:
            return crediting.reverse(book, wanted), spendable(book)


def _ignore(_ledger: LedgerId, _available: int) -> None:
    return
