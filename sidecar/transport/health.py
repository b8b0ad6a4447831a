"""grpc.health.v1 alone on a port of its own, for probes that come from outside the pod's loopback.

The API listens on loopback and has no authentication; this port answers no other question. What it
answers passes through the event loop that answers calls: a loop that hangs is not alive.
"""

from __future__ import annotations

from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from weighbridge.rules.errors import FailedPreconditionError

LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
"""Names to ask for, as a Kubernetes probe does by `service`. No name asks for readiness too."""

STREAMS_MAX: Final = 100
_OPTIONS: Final = (("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", STREAMS_MAX))
_Status = health_pb2.HealthCheckResponse


class HealthPort:
    """Listens from `start` to `stop`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._health = health.aio.HealthServicer()

    async def start(self) -> None:
        """Listen: alive, not ready. Raises FailedPreconditionError naming a port in use."""
        self._server = grpc.aio.server(options=_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise FailedPreconditionError(f"cannot listen on {self.address}: {error}") from error
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        await self._health.set(LIVENESS, _Status.SERVING)
        await self.set_ready(is_ready=False)
        await self._server.start()

    async def set_ready(self, *, is_ready: bool) -> None:
        """Say whether calls are answered from a snapshot."""
        status = _Status.SERVING if is_ready else _Status.NOT_SERVING
        for name in (READINESS, ""):
            await self._health.set(name, status)

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop(0)
