"""GetShadowReport."""

from __future__ import annotations

from typing import Any, Final

import grpc

from sidecar.core.gate import Gate
from sidecar.wire.shadow import report_to_proto
from weighbridge.rules.errors import InvalidArgumentError, WeighbridgeError
from weighbridge.rules.units import require_optional_id
from weighbridge.runtime.status import status_of
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb

CUSTOMERS_DEFAULT: Final = 10
CUSTOMERS_MAX: Final = 1_000


class ShadowService:
    """Says what drafts would have answered."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the method handlers."""
        return {
            "GetShadowReport": grpc.unary_unary_rpc_method_handler(
                self.get_shadow_report,
                sidecar_pb.GetShadowReportRequest.FromString,
                sidecar_pb.GetShadowReportResponse.SerializeToString,
            )
        }

    async def get_shadow_report(
        self,
        request: sidecar_pb.GetShadowReportRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> sidecar_pb.GetShadowReportResponse:
        """Answer with a report for each draft held."""
        try:
            catalog = require_optional_id("catalog", request.catalog)
            if not 0 <= request.customers_max <= CUSTOMERS_MAX:
                problem = f"{request.customers_max} is not 0 to {CUSTOMERS_MAX}"
                raise InvalidArgumentError("customers_max", problem)
        except WeighbridgeError as error:
            await context.abort(status_of(error), str(error))
        count = request.customers_max or CUSTOMERS_DEFAULT
        drafts = () if self._gate.shadow is None else self._gate.shadow.drafts()
        return sidecar_pb.GetShadowReportResponse(
            reports=[
                report_to_proto(draft, count)
                for draft in drafts
                if catalog in ("", draft.compiler.catalog.id)
            ]
        )
