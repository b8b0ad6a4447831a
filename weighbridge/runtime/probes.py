"""GET /livez, /readyz and /metrics, on a thread of its own and with the standard library alone."""

from __future__ import annotations

import errno
import socket
import socketserver
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from weighbridge.rules.errors import FailedPreconditionError, WeighbridgeError
from weighbridge.runtime.logs import get_logger

CONNECTIONS_MAX: Final = 32
REQUEST_TIMEOUT_S: Final = 10
STOP_POLL_S: Final = 0.1
PLAIN_TEXT: Final = "text/plain; charset=utf-8"

_log = get_logger("probes")


class ProbeServer:
    """Answers probes and scrapes from `start()` until `stop()`.

    `is_ready` returns what is in the way, nothing when ready; it is called on another thread, and
    so is `details`, which returns what people should know all the same, at best nothing. Port 0
    takes a free one: see `port`.
    """

    def __init__(
        self, host: str, port: int, is_ready: Callable[[], list[str]], registry: CollectorRegistry
    ) -> None:
        self.host = host
        self._wanted_port = port
        self._is_ready = is_ready
        self._registry = registry
        self.details: Callable[[], list[str]] = list
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on; before it is started, the one it was given."""
        return self._wanted_port if self._server is None else self._server.server_address[1]

    def start(self) -> None:
        """Listen. Raises FailedPreconditionError where the address cannot be had."""
        try:
            self._server = _Server(self.host, self._wanted_port, self._is_ready, self._registry)
            self._server.details = self.details
        except OSError as error:
            raise listening_error(self.host, self._wanted_port, error) from error
        serve = partial(self._server.serve_forever, poll_interval=STOP_POLL_S)
        Thread(target=serve, name="probes", daemon=True).start()

    def stop(self) -> None:
        """Stop listening. Stopping twice is fine."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def listening_error(host: str, port: int, error: OSError) -> WeighbridgeError:
    """Say in one line why an address cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return FailedPreconditionError(
            f"port {port} is in use: another process listens on {host}:{port}; stop it or choose "
            "another port"
        )
    return FailedPreconditionError(f"cannot listen on {host}:{port}: {error.strerror or error}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX

    def __init__(
        self, host: str, port: int, is_ready: Callable[[], list[str]], registry: CollectorRegistry
    ) -> None:
        self.is_ready = is_ready
        self.details: Callable[[], list[str]] = list
        self.registry = registry
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((host, port), _Request)

    def server_bind(self) -> None:
        # The parent's asks the name service for the host's full name, which may take seconds.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away in the middle of its answer.
        _log.debug("probe connection failed", client=str(client_address), exc_info=True)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/livez":
                self._answer(HTTPStatus.OK, PLAIN_TEXT, b"alive\n")
            case "/readyz":
                self._answer_ready()
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, content_type, encode(self.server.registry))
            case _:
                self._answer(
                    HTTPStatus.NOT_FOUND, PLAIN_TEXT, b"there are /livez, /readyz and /metrics\n"
                )

    def _answer_ready(self) -> None:
        try:
            problems = self.server.is_ready()
        except Exception:  # noqa: BLE001 (logged; the caller of a probe reads a status)
            _log.exception("readiness cannot be told")
            problems = ["readiness cannot be told; see the log"]
        if problems:
            body = "".join(f"{problem}\n" for problem in problems).encode()
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, PLAIN_TEXT, body)
        else:
            told = "".join(f"{line}\n" for line in ("ready", *self.server.details()))
            self._answer(HTTPStatus.OK, PLAIN_TEXT, told.encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the parent's name)
        _log.debug("probe", request=format % arguments)
