"""A rate of the fleet with real processes: four sidecars, clients at full speed, and crashes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.end_to_end.world import Process, World, consume, eventually
from weighbridge.v1 import types_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

LIMIT, BURST = 50, 20
SIDECARS = 4
SPAN_S = 6.0

CATALOG = f"""
catalog: shop
features:
  calls: {{type: metered}}
plans:
  free:
    features:
      calls: {{rates: [{{limit: {LIMIT}, per: second, burst: {BURST}, scope: fleet}}]}}
"""


class Fleet:
    """Four sidecars over one control plane."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.control_plane.set(WEIGHBRIDGE_CONTROL_PLANE_LEASE_TTL_MS="6000")
        self.world.start()
        self.world.admin().apply(CATALOG)
        self.world.admin().create("acme")
        self.apis: list[SidecarServiceStub] = [self.world.api()]
        for index in range(1, SIDECARS):
            self.apis.append(self.world.another_sidecar(f"sidecar-{index}"))

    @property
    def processes(self) -> list[Process]:
        return [self.world.sidecar, *self.world._others]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.world.end()


class Client(threading.Thread):
    """Consumes one unit after the other until told to stop."""

    def __init__(self, api: SidecarServiceStub, until: threading.Event) -> None:
        super().__init__()
        self._api = api
        self._until = until
        self.allowed = 0
        self.unanswered = 0

    def run(self) -> None:
        while not self._until.is_set():
            try:
                decision = consume(self._api, "acme", "calls").decision
            except grpc.RpcError:
                # It may have been admitted, or not.
                self.unanswered += 1
                time.sleep(0.05)
                continue
            if decision.allowed:
                self.allowed += 1
            else:
                assert decision.reason == pb.REASON_RATE_LIMITED
                assert decision.retry_after_ms > 0
                time.sleep(min(decision.retry_after_ms, 50) / 1000)


def hammer(fleet: Fleet, span_s: float) -> tuple[list[int], float, int]:
    """Return what each sidecar admitted, in how long, and how many calls had no answer."""
    until = threading.Event()
    clients = [Client(api, until) for api in fleet.apis for _ in range(2)]
    began_s = time.monotonic()
    for client in clients:
        client.start()
    time.sleep(span_s)
    until.set()
    for client in clients:
        client.join()
    elapsed_s = time.monotonic() - began_s
    allowed = [one.allowed + two.allowed for one, two in zip(*[iter(clients)] * 2, strict=True)]
    return allowed, elapsed_s, sum(client.unanswered for client in clients)


def test_four_sidecars_share_one_rate(fleet: Fleet) -> None:
    # Everybody knows the customer before the clock runs.
    for api in fleet.apis:
        eventually(lambda api=api: consume(api, "acme", "calls").decision.allowed)
    allowed, elapsed_s, unanswered = hammer(fleet, SPAN_S)
    bound = BURST + LIMIT * elapsed_s
    assert sum(allowed) <= bound
    assert sum(allowed) > 0.5 * bound
    assert all(allowed)
    assert not unanswered
    _, metrics = fleet.world.sidecar.probe("/metrics")
    assert "weighbridge_sidecar_rate_shares 1.0" in metrics
    _, metrics = fleet.world.control_plane.probe("/metrics")
    assert "weighbridge_control_plane_rates_shared 1.0" in metrics


def test_the_rate_holds_while_sidecars_and_the_control_plane_are_killed(fleet: Fleet) -> None:
    for api in fleet.apis:
        eventually(lambda api=api: consume(api, "acme", "calls").decision.allowed)
    found: list[tuple[list[int], float, int]] = []
    running = threading.Thread(target=lambda: found.append(hammer(fleet, 12.0)))
    running.start()
    time.sleep(2)
    fleet.processes[1].kill()
    fleet.processes[1].start()
    time.sleep(2)
    fleet.world.control_plane.kill()
    fleet.world.control_plane.start()
    running.join()
    ((allowed, elapsed_s, unanswered),) = found
    bound = BURST + LIMIT * elapsed_s
    assert sum(allowed) <= bound
    # Those that were not killed go on with what they have.
    assert sum(allowed) > 0.25 * bound
    assert unanswered < sum(allowed)
