"""The HTTP server, on the event loop of the control plane."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette

from control_plane.settings import Address
from weighbridge.runtime.probes import listening_error

BACKLOG: Final = 256
CONNECTIONS_MAX: Final = 1_000
KEEP_ALIVE_S: Final = 30


class HttpServer:
    """Listens from `start` to `stop`; port 0 takes a free one: see `port`."""

    def __init__(self, address: Address, app: Starlette) -> None:
        self._address = address
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="off",
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=KEEP_ALIVE_S,
            server_header=False,
            ws="none",
        )
        self._server = _Server(config)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; before it is started, the one it was given."""
        return self._address.port if self._socket is None else int(self._socket.getsockname()[1])

    @property
    def address(self) -> str:
        """Where it listens."""
        host = self._address.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises FailedPreconditionError where the address cannot be had."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(BACKLOG)
        except OSError as error:
            listening.close()
            raise listening_error(host, port, error) from error
        self._socket = listening
        self._task = asyncio.create_task(self._server.serve([listening]))

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, and give open ones that long. Also where it was never started."""
        if self._task is None:
            return
        self._server.should_exit = True
        done, _ = await asyncio.wait({self._task}, timeout=grace_s)
        if not done:
            self._server.force_exit = True
            await self._task
        else:
            self._task.result()
        self._task = None


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield
