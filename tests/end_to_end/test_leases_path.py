"""Leases with real processes: a hard limit holds on four sidecars, whatever is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import grpc
import pytest

from tests.end_to_end.world import Process, World, check, consume, eventually
from weighbridge.v1 import types_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

LIMIT = 400
CHAOS_LIMIT = 20_000
CHAOS_PAUSE_S = 0.015
SIDECARS = 4
CHAOS_S = 20.0

CATALOG = """
catalog: shop
features:
  calls: {type: metered, unit: call, consistency: leased}
plans:
  free: {features: {calls: {limits: [{limit: %d, window: lifetime}]}}}
"""


class Fleet:
    """Four sidecars over one control plane, all on one pool."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.control_plane.set(
            WEIGHBRIDGE_CONTROL_PLANE_LEASE_TTL_MS="6000",
            WEIGHBRIDGE_CONTROL_PLANE_LEASE_LOST_AFTER_MS="600000",
        )
        self.world.start()
        self.world.admin().apply(CATALOG % LIMIT)
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
    """Consumes one unit after the other; counts what was answered, and what was not."""

    def __init__(
        self, api: SidecarServiceStub, until: threading.Event, pause_s: float = 0.0
    ) -> None:
        super().__init__()
        self._api = api
        self._until = until
        self._pause_s = pause_s
        self.allowed = 0
        self.refused = 0
        self.unanswered = 0

    def run(self) -> None:
        while not self._until.is_set():
            try:
                decision = consume(self._api, "acme", "calls").decision
            except grpc.RpcError:
                # It may have been recorded, or not.
                self.unanswered += 1
                time.sleep(0.05)
                continue
            if decision.allowed:
                self.allowed += 1
                time.sleep(self._pause_s)
                continue
            self.refused += 1
            if not self._pause_s and self.refused > 3:
                return
            # Units may be held by a sidecar that was killed: they come back.
            time.sleep(0.05)


def test_four_sidecars_drain_one_limit_to_its_last_unit(fleet: Fleet) -> None:
    never = threading.Event()
    clients = [Client(api, never) for api in fleet.apis for _ in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)
    assert not any(client.is_alive() for client in clients)
    assert sum(client.allowed for client in clients) == LIMIT
    assert sum(client.unanswered for client in clients) == 0
    admin = fleet.world.admin()
    eventually(lambda: admin.used("acme", "calls") == LIMIT)
    for api in fleet.apis:
        decision = check(api, "acme", "calls").decision
        assert not decision.allowed
        assert decision.reason == pb.REASON_LIMIT_REACHED


def test_a_sidecar_that_stops_gives_back_what_it_holds(fleet: Fleet) -> None:
    assert consume(fleet.apis[1], "acme", "calls", 100).decision.allowed
    assert fleet.processes[1].stop() == 0
    # All at once: nothing waits for a term to run out.
    assert consume(fleet.apis[0], "acme", "calls", LIMIT - 100).decision.allowed
    assert not consume(fleet.apis[2], "acme", "calls").decision.allowed


def test_kills_at_random_never_overshoot_and_lose_nothing_answered(fleet: Fleet) -> None:
    random = Random(7)
    over = threading.Event()
    fleet.world.admin().apply(CATALOG % CHAOS_LIMIT)
    eventually(lambda: check(fleet.apis[0], "acme", "calls", CHAOS_LIMIT).decision.allowed)
    clients = [Client(api, over, CHAOS_PAUSE_S) for api in fleet.apis for _ in range(2)]
    for client in clients:
        client.start()
    ends_s = time.monotonic() + CHAOS_S
    while time.monotonic() < ends_s:
        time.sleep(random.uniform(0.3, 1.5))
        victim = random.choice([*fleet.processes, fleet.world.control_plane])
        victim.kill()
        time.sleep(random.uniform(0.0, 0.5))
        victim.start(wait_ready=False)
    for process in (fleet.world.control_plane, *fleet.processes):
        process.wait_ready()
    time.sleep(1.0)
    over.set()
    for client in clients:
        client.join(30)
    admin = fleet.world.admin()
    allowed = sum(client.allowed for client in clients)
    unanswered = sum(client.unanswered for client in clients)

    def settled() -> int | None:
        used = admin.used("acme", "calls")
        return used if allowed <= used else None

    used = eventually(settled)
    assert allowed <= used <= min(CHAOS_LIMIT, allowed + unanswered)
    assert SIDECARS * 20 < used < CHAOS_LIMIT, "the faults struck while units were spent"
    # What was held by epochs that ended comes back to the last unit.
    drain(fleet)
    assert fleet.world.admin().used("acme", "calls") == CHAOS_LIMIT
    status, body = fleet.world.control_plane.probe("/readyz")
    assert status == 200, body


def drain(fleet: Fleet) -> None:
    """Use what is left, wherever it is."""
    deadline_s = time.monotonic() + 60
    while (left := CHAOS_LIMIT - fleet.world.admin().used("acme", "calls")) > 0:
        assert time.monotonic() < deadline_s, f"{left} units are left that nobody can have"
        for api in fleet.apis:
            try:
                decision = consume(api, "acme", "calls", left).decision
                if decision.allowed_amount:
                    consume(api, "acme", "calls", decision.allowed_amount)
            except grpc.RpcError:
                time.sleep(0.1)
        time.sleep(0.05)
