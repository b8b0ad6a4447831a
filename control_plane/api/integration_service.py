"""The integration service: exporters, and what customers are called elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from control_plane.api.wrapping import Context
from control_plane.exporters.exporting import Exporting
from control_plane.exporters.queue import decide_item, export_status, list_items
from control_plane.importers.importing import Importing
from control_plane.provisioning.external_ids import list_external_ids, set_external_id
from control_plane.storage.database import Database
from control_plane.wire import integrations as wire
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.v1 import integration_service_pb2 as pb
from weighbridge.v1 import integration_service_pb2_grpc

PAGE_SIZE_DEFAULT = 100


class IntegrationService(integration_service_pb2_grpc.IntegrationServiceServicer):
    """Queries and changes. Errors pass through: `control_plane.api.errors` answers them."""

    def __init__(
        self,
        database: Database,
        exporting: Exporting,
        importing: Importing,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._importing = importing
        self._exporting = exporting
        self._now_ms = now_ms

    async def ListExporters(
        self, request: pb.ListExportersRequest, context: Context
    ) -> pb.ListExportersResponse:
        def read(connection: Connection) -> list[pb.Exporter]:
            return [
                wire.status_to_proto(export_status(connection, name), each.config.kind)
                for name, each in self._exporting.exporters.items()
            ]

        return pb.ListExportersResponse(exporters=await self._database.read(read))

    async def RunExporter(
        self, request: pb.RunExporterRequest, context: Context
    ) -> pb.RunExporterResponse:
        exporter = self._exporting.require(request.exporter)
        if request.dry_run:
            items = await exporter.preview(include_open=request.include_open)
            return pb.RunExporterResponse(items=map(wire.item_to_proto, items))
        ran = await exporter.run(include_open=request.include_open)
        return pb.RunExporterResponse(
            events_summed=ran.events,
            items_made=ran.items,
            items_sent=ran.sent,
            items_not_sent=ran.failed,
        )

    async def ListExportItems(
        self, request: pb.ListExportItemsRequest, context: Context
    ) -> pb.ListExportItemsResponse:
        self._exporting.require(request.exporter)
        state = wire.state_from_proto(request.state)
        after = _after(request.page_token)
        size = request.page_size or PAGE_SIZE_DEFAULT
        items = await self._database.read(
            lambda c: list_items(c, request.exporter, state, size, after)
        )
        token = str(items[-1].id) if len(items) == size else ""
        return pb.ListExportItemsResponse(
            items=map(wire.item_to_proto, items), next_page_token=token
        )

    async def DecideExportItem(
        self, request: pb.DecideExportItemRequest, context: Context
    ) -> pb.DecideExportItemResponse:
        now_ms = self._now_ms()
        item = await self._database.write(
            lambda c: decide_item(
                c, request.exporter, request.identifier, is_sent=request.is_sent, now_ms=now_ms
            )
        )
        return pb.DecideExportItemResponse(item=wire.item_to_proto(item))

    async def SetExternalId(
        self, request: pb.SetExternalIdRequest, context: Context
    ) -> pb.SetExternalIdResponse:
        wanted = wire.external_id_from_proto(request.external_id)
        await self._database.write(lambda c: set_external_id(c, wanted))
        return pb.SetExternalIdResponse()

    async def ListExternalIds(
        self, request: pb.ListExternalIdsRequest, context: Context
    ) -> pb.ListExternalIdsResponse:
        found, token = await self._database.read(
            lambda c: list_external_ids(
                c, request.customer, request.system, request.page_size, request.page_token
            )
        )
        return pb.ListExternalIdsResponse(
            external_ids=map(wire.external_id_to_proto, found), next_page_token=token
        )

    async def ListImportedEvents(
        self, request: pb.ListImportedEventsRequest, context: Context
    ) -> pb.ListImportedEventsResponse:
        state = wire.event_state_from_proto(request.state)
        found, token = await self._importing.list_events(
            state, request.page_size, request.page_token
        )
        return pb.ListImportedEventsResponse(
            events=map(wire.event_to_proto, found), next_page_token=token
        )

    async def ReplayImportedEvent(
        self, request: pb.ReplayImportedEventRequest, context: Context
    ) -> pb.ReplayImportedEventResponse:
        known = await self._importing.replay(request.source, request.id)
        return pb.ReplayImportedEventResponse(event=wire.event_to_proto(known))

    async def ImportCustomers(
        self, request: pb.ImportCustomersRequest, context: Context
    ) -> pb.ImportCustomersResponse:
        rows = [wire.wanted_customer_from_proto(row) for row in request.rows]
        changed = await self._importing.import_customers(rows, is_dry_run=request.dry_run)
        return pb.ImportCustomersResponse(
            rows=[
                pb.CustomerRowChanges(line=each.line, customer=each.customer, changes=each.changes)
                for each in changed
            ]
        )


def _after(page_token: str) -> int:
    if page_token and not (page_token.isdecimal() and len(page_token) <= 18):  # noqa: PLR2004 - fits 64 bits
        raise InvalidArgumentError("page_token", "is not one that a page came with")
    return int(page_token or 0)
