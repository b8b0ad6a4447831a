"""Both processes, for real, on free loopback ports, to be killed and started again."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc

from weighbridge.runtime.tokens import read_secret_file
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1.admin_service_pb2_grpc import AdminServiceStub
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

START_TIMEOUT_S = 30.0
EVENTUALLY_TIMEOUT_S = 20.0

T = TypeVar("T")

CATALOG = """
catalog: shop
features:
  api.calls: {type: metered, unit: call}
  tokens: {type: metered, unit: token}
  events: {type: metered}
  sso: {type: boolean}
plans:
  free:
    name: Free
    features:
      api.calls: {limits: [{limit: %(calls)d, window: month}]}
      tokens: {limits: [{limit: 1000000, window: month}, {limit: 1000, window: day, kind: soft}]}
      events: unlimited
    upgrades_to: [pro]
  pro:
    name: Pro
    extends: free
    features:
      api.calls: {limits: [{limit: 100000, window: month}]}
      sso: true
    offer: {message: Go Pro, url: "https://example.com/pro"}
"""


def catalog(calls: int = 10) -> str:
    return CATALOG % {"calls": calls}


def cached(document: str) -> str:
    """Return the document with totals deciding about every metered feature, and no leases."""
    return document.replace("type: metered", "type: metered, consistency: cached")


def free_ports(count: int) -> list[int]:
    held = []
    for _ in range(count):
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        held.append(bound)
    ports = [bound.getsockname()[1] for bound in held]
    for bound in held:
        bound.close()
    return ports


def eventually(ask: Callable[[], T | None], timeout_s: float = EVENTUALLY_TIMEOUT_S) -> T:
    """Ask again and again until the answer is true; fail when it never is."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline_s, f"never true: {ask}"
        time.sleep(0.02)


class Process:
    """A process of ours: started, killed, started again with the same ports and data."""

    def __init__(
        self, module: str, environment: dict[str, str], probe_port: int, log: Path
    ) -> None:
        self._module = module
        self._environment = environment
        self._probe_port = probe_port
        self.log = log
        self._popen: subprocess.Popen[bytes] | None = None

    def set(self, **changes: str) -> None:
        """Change variables of its environment for all starts from now on."""
        self._environment.update(changes)

    def start(self, *, wait_ready: bool = True, **changes: str) -> None:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env={**os.environ, **self._environment, **changes},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait_ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        assert self._popen is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self.probe("/readyz")[0] != 200:
            code = self._popen.poll()
            assert code is None, f"{self._module} ended with {code}:\n{self.log.read_text()}"
            assert time.monotonic() < deadline_s, self.log.read_text()
            time.sleep(0.05)

    def probe(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._probe_port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill -9."""
        assert self._popen is not None
        self._popen.send_signal(signal.SIGKILL)
        self._popen.wait(10)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._popen is not None
        self._popen.send_signal(signal.SIGTERM)
        return self._popen.wait(30)

    def end(self) -> None:
        if self._popen is not None and self._popen.poll() is None:
            self.kill()

    def wait_exit(self) -> int:
        assert self._popen is not None
        return self._popen.wait(START_TIMEOUT_S)


class World:
    """A control plane and a sidecar in one folder; the database too, unless it is elsewhere."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        self.folder = folder
        self.database_url = database_url
        self.grpc_port, probe_port, self.sidecar_port, sidecar_probe_port = free_ports(4)
        self.data_dir = folder / "control-plane"
        self.sidecar_dir = folder / "sidecar"
        self._others: list[Process] = []
        self.control_plane = Process(
            "control_plane",
            {
                "WEIGHBRIDGE_CONTROL_PLANE_DATA_DIR": str(self.data_dir),
                "WEIGHBRIDGE_CONTROL_PLANE_LISTEN": f"127.0.0.1:{self.grpc_port}",
                "WEIGHBRIDGE_CONTROL_PLANE_PROBE_LISTEN": f"127.0.0.1:{probe_port}",
                "WEIGHBRIDGE_CONTROL_PLANE_HEARTBEAT_INTERVAL_MS": "500",
                "WEIGHBRIDGE_CONTROL_PLANE_DATABASE_URL": database_url,
            },
            probe_port,
            folder / "control-plane.log",
        )
        self.sidecar = self._sidecar(self.sidecar_dir, self.sidecar_port, sidecar_probe_port)
        self._channels: list[grpc.Channel] = []

    def _sidecar(self, data_dir: Path, port: int, probe_port: int) -> Process:
        return Process(
            "sidecar",
            {
                "WEIGHBRIDGE_SIDECAR_DATA_DIR": str(data_dir),
                "WEIGHBRIDGE_SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "WEIGHBRIDGE_SIDECAR_PROBE_LISTEN": f"127.0.0.1:{probe_port}",
                "WEIGHBRIDGE_SIDECAR_CONTROL_PLANE": f"127.0.0.1:{self.grpc_port}",
                "WEIGHBRIDGE_SIDECAR_TOKEN_FILE": str(self.data_dir / "sync.token"),
                "WEIGHBRIDGE_SIDECAR_OUTAGE_AFTER_S": "2",
                "WEIGHBRIDGE_SIDECAR_BACKOFF_MS_MAX": "500",
                "WEIGHBRIDGE_SIDECAR_STOP_GRACE_S": "5",
            },
            probe_port,
            data_dir.with_suffix(".log"),
        )

    def another_sidecar(
        self, name: str, *, wait_ready: bool = True, **changes: str
    ) -> SidecarServiceStub:
        """Start one more sidecar, and return what asks it."""
        port, probe_port = free_ports(2)
        process = self._sidecar(self.folder / name, port, probe_port)
        self._others.append(process)
        process.start(wait_ready=wait_ready, **changes)
        return self.api(f"127.0.0.1:{port}")

    def start(self) -> None:
        self.control_plane.start()
        self.sidecar.start()

    def end(self) -> None:
        for channel in self._channels:
            channel.close()
        for process in (self.sidecar, *self._others, self.control_plane):
            process.end()

    def admin(self) -> Admin:
        return Admin(self._channel(f"127.0.0.1:{self.grpc_port}"), self.data_dir / "admin.token")

    def api(self, address: str | None = None) -> SidecarServiceStub:
        return SidecarServiceStub(self._channel(address or f"127.0.0.1:{self.sidecar_port}"))

    def _channel(self, address: str) -> grpc.Channel:
        channel = grpc.insecure_channel(
            address,
            options=(
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
            ),
        )
        self._channels.append(channel)
        return channel

    def usage_records_unsettled(self) -> float:
        _, metrics = self.sidecar.probe("/metrics")
        for line in metrics.splitlines():
            if line.startswith("weighbridge_sidecar_journal_unsettled_records "):
                return float(line.split()[1])
        raise AssertionError(metrics)

    def sidecar_logs(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.sidecar.log.read_text().splitlines() if line]


class Admin:
    """The admin service, with the token."""

    def __init__(self, channel: grpc.Channel, token_path: Path) -> None:
        self.stub = AdminServiceStub(channel)
        self._token_path = token_path

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {read_secret_file(self._token_path)}"),)

    def apply(self, document: str) -> admin_pb.ApplyCatalogResponse:
        request = admin_pb.ApplyCatalogRequest(document=document, source_name="test.yaml")
        return self.stub.ApplyCatalog(request, metadata=self.metadata(), timeout=10)

    def apply_cached(self, api: SidecarServiceStub, document: str) -> None:
        """Apply it with `cached`, and wait until the sidecar decides so for `acme`."""
        self.apply(cached(document))
        question = ("acme", "api.calls")
        eventually(lambda: not check(api, *question).decision.HasField("max_overshoot"))

    def create(self, customer: str, plan: str = "free", parent: str = "") -> None:
        request = admin_pb.CreateCustomerRequest(id=customer, plan=plan, parent=parent)
        self.stub.CreateCustomer(request, metadata=self.metadata(), timeout=10)

    def used(self, customer: str, feature: str) -> int:
        request = admin_pb.QueryUsageRequest(customer=customer, feature=feature)
        response = self.stub.QueryUsage(request, metadata=self.metadata(), timeout=10)
        return sum(row.amount for row in response.rows)


def consume(
    api: SidecarServiceStub, customer: str, feature: str, amount: int = 1, key: str = ""
) -> sidecar_pb.ConsumeResponse:
    request = sidecar_pb.ConsumeRequest(
        customer=customer, feature=feature, amount=amount, idempotency_key=key
    )
    return api.Consume(request, timeout=5, wait_for_ready=True)


def check(
    api: SidecarServiceStub, customer: str, feature: str, amount: int = 1
) -> sidecar_pb.CheckResponse:
    request = sidecar_pb.CheckRequest(customer=customer, feature=feature, amount=amount)
    return api.Check(request, timeout=5, wait_for_ready=True)
