"""An HTTP server on loopback that records what it is sent, and answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl


class Recorded(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Answer:
    """What to answer. `hangs`: nothing, until the server ends."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False


Answering = Callable[[Recorded], Answer]


class RecordingServer:
    """Its address, and all it was sent. `answer` may be changed at any time."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.requests: list[Recorded] = []
        self.ended = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.take(self)

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        size = int(handler.headers.get("content-length") or 0)
        body = handler.rfile.read(size)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        recorded = Recorded(handler.command, handler.path, headers, body)
        self.requests.append(recorded)
        answer = self.answer(recorded)
        if answer.hangs:
            self.ended.wait(30)
            handler.close_connection = True
            return
        sent = json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(sent)))
        handler.end_headers()
        handler.wfile.write(sent)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextmanager
def recording_server(answer: Answering = lambda _request: Answer()) -> Iterator[RecordingServer]:
    """Serve until the context ends."""
    server = RecordingServer(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()
