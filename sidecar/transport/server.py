"""The gRPC server: the API on TCP and on a unix socket, health and reflection beside it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar.transport.reference import SERVICE
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.runtime.probes import listening_error
from weighbridge.v1 import sidecar_service_pb2

MESSAGE_BYTES_MAX: Final = 4 << 20
STREAMS_MAX: Final = 1_000
SOCKET_MODE: Final = 0o660
_OPTIONS: Final = (
    # Without it a second sidecar on the port would silently take half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", STREAMS_MAX),
)


class ApiServer:
    """Listens from `start` to `stop`."""

    def __init__(
        self,
        handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
        listen: str,
        socket_path: Path,
    ) -> None:
        self._handlers = handlers
        self._listen = listen
        self._socket_path = socket_path
        self._health = health.aio.HealthServicer()
        self._is_serving: bool | None = None
        self.address = listen

    async def start(self) -> None:
        """Listen. Raises FailedPreconditionError naming the port or the socket in use."""
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, dict(self._handlers)),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        assert SERVICE in {
            s.full_name for s in sidecar_service_pb2.DESCRIPTOR.services_by_name.values()
        }
        reflection.enable_server_reflection(names, self._server)
        self._listen_on_tcp()
        self._listen_on_socket()
        await self._server.start()
        self._socket_path.chmod(SOCKET_MODE)
        await self._set_health(is_serving=False)

    async def set_serving(self, *, is_serving: bool) -> None:
        """Tell health checks whether calls are answered from a snapshot."""
        if is_serving is not self._is_serving:
            await self._set_health(is_serving=is_serving)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, answer open ones within the grace, and stop listening."""
        await self._set_health(is_serving=False)
        await self._server.stop(grace_s)
        self._socket_path.unlink(missing_ok=True)

    async def _set_health(self, *, is_serving: bool) -> None:
        self._is_serving = is_serving
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if is_serving else statuses.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)

    def _listen_on_tcp(self) -> None:
        host, _, port = self._listen.rpartition(":")
        _require_free(host.strip("[]"), int(port))
        bound = self._server.add_insecure_port(self._listen)
        self.address = f"{host}:{bound}"

    def _listen_on_socket(self) -> None:
        path = self._socket_path
        if path.exists():
            _require_dead(path)
            path.unlink()
        try:
            self._server.add_insecure_port(f"unix:{path.absolute()}")
        except RuntimeError as error:
            raise FailedPreconditionError(f"cannot listen on the socket {path}: {error}") from error


def _require_free(host: str, port: int) -> None:
    """Ask the system whether the port can be had: gRPC's own error does not say why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise listening_error(host, port, error) from error


def _require_dead(path: Path) -> None:
    """Refuse a socket that somebody answers on; one that a crash left behind may go."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                return
            raise FailedPreconditionError(f"the socket {path} cannot be taken: {error}") from error
    raise FailedPreconditionError(f"the socket {path} is in use: another process listens on it")
