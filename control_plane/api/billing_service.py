"""The billing service: statements, and closing them."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from control_plane.api.wrapping import Context
from control_plane.billing.closing import close_statement, closed_statements, list_statements
from control_plane.billing.credits import credit_moves
from control_plane.billing.statement import StatementQuery, make_statement
from control_plane.provisioning import CatalogLibrary
from control_plane.storage.database import Database
from control_plane.wire import billing as wire
from weighbridge.v1 import billing_service_pb2 as pb
from weighbridge.v1 import billing_service_pb2_grpc


class BillingService(billing_service_pb2_grpc.BillingServiceServicer):
    """Queries and closing. Errors pass through: `control_plane.api.errors` answers them."""

    def __init__(
        self, database: Database, library: CatalogLibrary, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._library = library
        self._now_ms = now_ms

    async def GetStatement(
        self, request: pb.GetStatementRequest, context: Context
    ) -> pb.GetStatementResponse:
        query = wire.query_from_proto(request)
        return await self._database.read(lambda connection: self._statement(connection, query))

    async def CloseStatement(
        self, request: pb.CloseStatementRequest, context: Context
    ) -> pb.CloseStatementResponse:
        query, now_ms = wire.query_from_proto(request), self._now_ms()
        closing = await self._database.write(
            lambda connection: close_statement(connection, self._library, query, now_ms)
        )
        return pb.CloseStatementResponse(
            statement=wire.closed_to_proto(closing.closed), unchanged=closing.is_unchanged
        )

    async def ListStatements(
        self, request: pb.ListStatementsRequest, context: Context
    ) -> pb.ListStatementsResponse:
        page = await self._database.read(
            lambda connection: list_statements(
                connection, request.customer, request.page_size, request.page_token
            )
        )
        return pb.ListStatementsResponse(
            statements=[wire.closed_to_proto(each) for each in page.statements],
            next_page_token=page.next_page_token,
        )

    def _statement(self, connection: Connection, query: StatementQuery) -> pb.GetStatementResponse:
        made = make_statement(connection, self._library, query, self._now_ms())
        moves = credit_moves(connection, query.customer, query.from_ms, query.to_ms)
        kept = closed_statements(connection, made.query)
        return pb.GetStatementResponse(
            statement=wire.statement_to_proto(made, moves),
            closed_minor=sum(each.total_minor for each in kept) if kept else None,
        )
