"""A rolling hard limit with real processes: three sidecars never pass it, and units come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.world import World, consume, eventually
from weighbridge.v1 import types_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

LIMIT = 60
LENGTH_S = 60.0
BACK_S = 75.0

CATALOG = f"""
catalog: shop
features:
  calls: {{type: metered, unit: call}}
plans:
  free:
    features:
      calls: {{limits: [{{limit: {LIMIT}, window: {{rolling: {{minutes: 1}}}}}}]}}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.start()
    made.admin().apply(CATALOG)
    made.admin().create("acme")
    yield made
    made.end()


class Client(threading.Thread):
    """Consumes until it was refused; notes when each call that passed was asked and answered."""

    def __init__(self, api: SidecarServiceStub) -> None:
        super().__init__()
        self._api = api
        self.passed: list[tuple[float, float]] = []
        self.refusal: pb.Decision | None = None

    def run(self) -> None:
        while self.refusal is None:
            asked_s = time.monotonic()
            decision = consume(self._api, "acme", "calls").decision
            if decision.allowed:
                assert decision.decided_by == pb.DECIDED_BY_LEASE
                self.passed.append((asked_s, time.monotonic()))
            else:
                self.refusal = decision


def rounds(apis: list[SidecarServiceStub]) -> list[Client]:
    clients = [Client(api) for api in apis]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert not any(client.is_alive() for client in clients)
    return clients


def test_three_sidecars_share_a_rolling_limit_and_units_come_back(world: World) -> None:
    apis = [world.api(), *(world.another_sidecar(f"sidecar-{n}") for n in (1, 2))]
    first = rounds(apis)
    passed = [span for client in first for span in client.passed]
    assert len(passed) == LIMIT
    for client in first:
        assert client.refusal is not None
        assert client.refusal.reason == pb.REASON_LIMIT_REACHED
        assert 0 < client.refusal.retry_after_ms <= LENGTH_S * 1_000 * (1 + 2 / 60)
    began_s = min(asked_s for asked_s, _ in passed)

    def is_back() -> float | None:
        asked_s = time.monotonic()
        return asked_s if consume(apis[1], "acme", "calls").decision.allowed else None

    back_s = eventually(is_back, BACK_S)
    # The first of them had left by then, and not earlier.
    assert time.monotonic() - began_s >= LENGTH_S
    second = [span for client in rounds(apis) for span in client.passed]
    assert second
    everything = [*passed, (back_s, back_s), *second]
    for asked_s, _ in everything:
        within = sum(asked_s <= a and b < asked_s + LENGTH_S for a, b in everything)
        assert within <= LIMIT
