"""The usage service: what was set aside, and replaying it."""

from __future__ import annotations

from typing import Final

from control_plane.api.wrapping import Context
from control_plane.metering.reporting import Reporter
from control_plane.metering.set_aside import KeptUsage, list_set_aside, replay_set_aside
from control_plane.storage.database import Database
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.v1 import usage_service_pb2 as pb
from weighbridge.v1 import usage_service_pb2_grpc

PAGE_SIZE_DEFAULT: Final = 100
DIGITS_MAX: Final = 18


class UsageService(usage_service_pb2_grpc.UsageServiceServicer):
    """Queries and replay. Errors pass through: `control_plane.api.errors` answers them."""

    def __init__(self, database: Database, reporter: Reporter) -> None:
        self._database = database
        self._reporter = reporter

    async def ListSetAside(
        self, request: pb.ListSetAsideRequest, context: Context
    ) -> pb.ListSetAsideResponse:
        token, size = request.page_token, request.page_size or PAGE_SIZE_DEFAULT
        if token and not (token.isdecimal() and len(token) <= DIGITS_MAX):
            raise InvalidArgumentError("page_token", "is not one that a page came with")
        after = int(token or 0)
        page = await self._database.read(
            lambda connection: list_set_aside(connection, request.reason, size, after)
        )
        return pb.ListSetAsideResponse(
            usage=map(_to_proto, page),
            next_page_token=str(page[-1].id) if len(page) == size else "",
        )

    async def ReplaySetAside(
        self, request: pb.ReplaySetAsideRequest, context: Context
    ) -> pb.ReplaySetAsideResponse:
        replayed = await replay_set_aside(
            self._database, self._reporter, list(request.ids), request.reason
        )
        return pb.ReplaySetAsideResponse(replayed=replayed.usages, set_aside_again=replayed.again)


def _to_proto(kept: KeptUsage) -> pb.SetAsideUsage:
    return pb.SetAsideUsage(
        id=kept.id,
        reason=kept.reason.value,
        sidecar_id=kept.sidecar_id,
        epoch=kept.epoch,
        number=kept.number,
        received_at_unix_ms=kept.received_at_ms,
        payload=kept.payload,
        replayable=kept.is_replayable,
    )
