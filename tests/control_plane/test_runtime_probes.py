"""Probes and scrapes, over real connections."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.runtime.probes import CONNECTIONS_MAX, ProbeServer

TIMEOUT_S = 10


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def server(problems: list[str]) -> Iterator[ProbeServer]:
    registry = CollectorRegistry()
    Counter("weighbridge_things", "Things.", registry=registry).inc(3)
    server = ProbeServer("127.0.0.1", 0, lambda: problems, registry)
    server.start()
    yield server
    server.stop()


def get(server: ProbeServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_S)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], body


def test_alive_and_ready(server: ProbeServer, problems: list[str]) -> None:
    assert get(server, "/livez")[::2] == (200, "alive\n")
    assert get(server, "/readyz?verbose")[::2] == (200, "ready\n")
    problems += ["no snapshot yet", "journal cannot be written"]
    assert get(server, "/readyz")[::2] == (503, "no snapshot yet\njournal cannot be written\n")
    assert get(server, "/livez")[0] == 200


def test_metrics(server: ProbeServer) -> None:
    status, content_type, body = get(server, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert "weighbridge_things_total 3.0" in body


def test_other_paths_and_methods(server: ProbeServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/livez", "POST")[0] == 501


def test_readiness_that_cannot_be_told() -> None:
    def broken() -> list[str]:
        raise RuntimeError("broken")

    server = ProbeServer("127.0.0.1", 0, broken, CollectorRegistry())
    server.start()
    assert get(server, "/readyz")[::2] == (503, "readiness cannot be told; see the log\n")
    server.stop()


def test_a_port_in_use_is_named_in_one_line(server: ProbeServer) -> None:
    other = ProbeServer("127.0.0.1", server.port, list, CollectorRegistry())
    with pytest.raises(FailedPreconditionError) as caught:
        other.start()
    assert str(caught.value).startswith(f"port {server.port} is in use: ")
    assert "\n" not in str(caught.value)


def test_an_address_that_is_not_ours() -> None:
    server = ProbeServer("192.0.2.1", 0, list, CollectorRegistry())
    with pytest.raises(FailedPreconditionError, match=r"cannot listen on 192.0.2.1:0: "):
        server.start()


def test_connections_are_bounded(server: ProbeServer) -> None:
    idle = [
        socket.create_connection((server.host, server.port), timeout=TIMEOUT_S)
        for _ in range(CONNECTIONS_MAX)
    ]
    with socket.create_connection((server.host, server.port), timeout=TIMEOUT_S) as refused:
        assert refused.recv(1) == b""
    for connection in idle:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.0 200"
        connection.close()


def test_stopping_frees_the_port(server: ProbeServer) -> None:
    port = server.port
    server.stop()
    server.stop()
    again = ProbeServer("127.0.0.1", port, list, CollectorRegistry())
    again.start()
    assert get(again, "/livez")[0] == 200
    again.stop()
