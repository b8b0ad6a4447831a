"""The process: what it makes, what it says when it cannot start, and how it stops."""

from __future__ import annotations

import http.client
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from provisioned import CATALOG
from running_process import RunningProcess

from weighbridge.runtime.tokens import new_token, read_secret_file
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import admin_service_pb2_grpc

TIMEOUT_S = 20

Start = Callable[..., RunningProcess]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    started: list[RunningProcess] = []

    def start_one(directory: Path = data_dir, **settings: str) -> RunningProcess:
        started.append(RunningProcess(directory, **settings))
        return started[-1]

    yield start_one
    for process in started:
        process.stop(signal.SIGKILL)


def probe(address: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def apply_catalog(address: str, token: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        response = stub.ApplyCatalog(
            pb.ApplyCatalogRequest(document=CATALOG),
            metadata=[("authorization", f"Bearer {token}")],
            timeout=TIMEOUT_S,
        )
    return response.version


def test_it_starts_from_nothing_and_again(start: Start, data_dir: Path) -> None:
    first = start()
    addresses = first.listening()
    admin = read_secret_file(data_dir / "admin.token")
    sync = read_secret_file(data_dir / "sync.token")
    assert admin != sync
    for name in ("admin.token", "sync.token"):
        assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert probe(addresses["probes"], "/livez") == (200, "alive\n")
    assert probe(addresses["probes"], "/readyz") == (200, "ready\n")
    assert apply_catalog(addresses["address"], admin) == 1
    metrics = probe(addresses["probes"], "/metrics")[1]
    assert 'admin_calls_total{code="OK",method="ApplyCatalog"} 1.0' in metrics
    assert "weighbridge_control_plane_sidecars_connected 0.0" in metrics
    assert "weighbridge_control_plane_lease_differences 0.0" in metrics
    assert first.stop() == 0

    second = start()
    assert apply_catalog(second.listening()["address"], admin) == 1
    assert second.stop(signal.SIGINT) == 0
    for token in (admin, sync):
        assert token not in first.log + second.log


def test_health_says_which_services_serve(start: Start) -> None:
    with grpc.insecure_channel(start().listening()["address"]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "weighbridge.v1.AdminService", "weighbridge.v1.SyncService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(request, timeout=TIMEOUT_S).status == 1


def test_a_new_token_file_replaces_the_token(start: Start, data_dir: Path) -> None:
    first = start()
    first.listening()
    old = read_secret_file(data_dir / "admin.token")
    first.stop()
    new = new_token()
    (data_dir / "admin.token").write_text(new)

    address = start().listening()["address"]
    assert apply_catalog(address, new) == 1
    with pytest.raises(grpc.RpcError, match="not known, or was revoked"):
        apply_catalog(address, old)


@pytest.mark.parametrize("setting", ["listen", "probe_listen"])
def test_a_port_in_use_is_one_clear_line(start: Start, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(**{setting: f"127.0.0.1:{port}"})
        assert process.ended() == 1
    errors = [line for line in process.log.splitlines() if not line.startswith("{")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: port {port} is in use: ")


def test_a_second_one_on_the_same_data_is_refused(start: Start, data_dir: Path) -> None:
    start().listening()
    second = start()
    assert second.ended() == 1
    database = data_dir / "control-plane.db"
    assert second.log.startswith(f"error: another control plane uses the database {database}; ")


def test_a_killed_one_leaves_no_lock(start: Start) -> None:
    first = start()
    first.listening()
    first.stop(signal.SIGKILL)
    start().listening()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"listen": "nowhere"}, "WEIGHBRIDGE_CONTROL_PLANE_LISTEN: 'nowhere' is not host:port"),
        ({"lisen": "127.0.0.1:0"}, "WEIGHBRIDGE_CONTROL_PLANE_LISEN: is not a setting"),
    ],
)
def test_bad_settings_are_named(start: Start, settings: dict[str, str], problem: str) -> None:
    process = start(**settings)
    assert process.ended() == 2
    assert process.log == f"error: {problem}\n"


def test_one_token_for_both_is_refused(start: Start, data_dir: Path) -> None:
    data_dir.mkdir()
    token = new_token()
    (data_dir / "admin.token").write_text(token)
    (data_dir / "sync.token").write_text(token)

    process = start()
    assert process.ended() == 1
    assert "hold the same token" in process.log.splitlines()[-1]
    assert token not in process.log


def test_a_data_directory_that_cannot_be_made(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file")
    assert process.ended() == 1
    assert process.log.startswith("error: cannot make the data directory")
