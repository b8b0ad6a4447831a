"""Receives webhooks: checks who sent them, answers quickly, and does the work of each once.

    python examples/webhook_receiver.py secret.txt --port 8099

The secret is what `weighbridge webhook endpoints create NAME http://127.0.0.1:8099/` printed. A
message may come twice, so what was done is kept by `webhook-id`; here in memory, in earnest in the
database of the work itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1 << 20

Work = Callable[[dict[str, Any]], None]


class Receiver:
    """Verifies messages, and does the work of each one once."""

    def __init__(self, secret: str, work: Work) -> None:
        self._webhook = Webhook(secret)
        self._work = work
        self._done: set[str] = set()
        self._lock = Lock()

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        """Return the status to answer: 401 for what was not signed with the secret just now."""
        try:
            message = self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return 401
        with self._lock:
            if headers["webhook-id"] not in self._done:
                self._work(message)
                self._done.add(headers["webhook-id"])
        return 204


def serve(receiver: Receiver, port: int) -> ThreadingHTTPServer:
    """Return a server on loopback that hands every POST to the receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            status = 413
            if size <= BODY_BYTES_MAX:
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver.receive(headers, self.rfile.read(size))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Print what is received until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("secret", type=Path, help="a file with the endpoint's secret")
    parser.add_argument("--port", type=int, default=8099)
    given = parser.parse_args()

    def show(message: dict[str, Any]) -> None:
        print(json.dumps(message, indent=2), flush=True)

    receiver = Receiver(given.secret.read_text("utf-8").strip(), show)
    with serve(receiver, given.port) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
