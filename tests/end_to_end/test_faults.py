"""kill -9 of either side: no answer changes, nothing acknowledged is lost or doubled."""

from __future__ import annotations

import threading
from typing import Self

import grpc

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub


def essence(decision: pb.Decision) -> tuple[object, ...]:
    return (
        decision.allowed,
        decision.reason,
        decision.limit,
        decision.used,
        decision.remaining,
        [hint.plan for hint in decision.upgrade_hints],
    )


def questions(world: World) -> list[tuple[object, ...]]:
    api = world.api()
    asked = [("acme", "api.calls", 1), ("acme", "api.calls", 8), ("acme", "sso", 1)]
    asked += [("acme", "tokens", 50), ("nobody", "api.calls", 1), ("acme", "nonsense", 1)]
    return [essence(check(api, *question).decision) for question in asked]


def test_killing_the_control_plane_changes_no_answer_and_loses_no_usage(world: World) -> None:
    api = world.api()
    world.admin().apply_cached(api, catalog())
    consume(api, "acme", "api.calls", 3)
    consume(api, "acme", "tokens", 10)
    before = questions(world)
    world.control_plane.kill()
    assert questions(world) == before
    eventually(
        lambda: check(api, "acme", "tokens").decision.decided_by == pb.DECIDED_BY_OUTAGE_POLICY
    )
    assert questions(world) == before
    for _ in range(7):
        assert consume(api, "acme", "api.calls").decision.allowed
    assert consume(api, "acme", "api.calls").decision.reason == pb.REASON_LIMIT_REACHED
    world.control_plane.start()
    eventually(lambda: world.admin().used("acme", "api.calls") == 10)
    eventually(lambda: check(api, "acme", "tokens").decision.decided_by == pb.DECIDED_BY_CACHE)
    assert consume(api, "acme", "api.calls").decision.reason == pb.REASON_LIMIT_REACHED


def test_a_sidecar_that_starts_while_the_control_plane_is_down_serves_from_disk(
    world: World,
) -> None:
    api = world.api()
    world.admin().apply_cached(api, catalog())
    consume(api, "acme", "api.calls", 3)
    eventually(lambda: world.admin().used("acme", "api.calls") == 3)
    before = questions(world)
    # What is kept on disk is written every half second.
    eventually(lambda: world.usage_records_unsettled() == 0)
    assert world.sidecar.stop() == 0
    world.control_plane.kill()
    world.sidecar.start()
    assert questions(world)[:4] == before[:4]
    decision = check(api, "acme", "api.calls").decision
    assert decision.HasField("snapshot_age_ms")
    consume(api, "acme", "api.calls", 7)
    assert consume(api, "acme", "api.calls").decision.reason == pb.REASON_LIMIT_REACHED
    world.sidecar.kill()
    world.sidecar.start()
    assert consume(api, "acme", "api.calls").decision.reason == pb.REASON_LIMIT_REACHED
    world.control_plane.start()
    eventually(lambda: world.admin().used("acme", "api.calls") == 10)


class Load:
    """Threads that report with a fresh key each, and retry with the same key until answered."""

    def __init__(self, world: World, workers: int) -> None:
        self._world = world
        self._stopping = threading.Event()
        self.acknowledged = [0] * workers
        self.unanswered = [0] * workers
        self._threads = [
            threading.Thread(target=self._work, args=(worker,)) for worker in range(workers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, worker: int) -> None:
        api = self._world.api()
        amount = 0
        while not self._stopping.is_set():
            amount += 1
            request = sidecar_pb.ReportRequest(
                customer="acme",
                feature="events",
                amount=amount,
                idempotency_key=f"{worker}-{amount}",
            )
            if self._answered(api, request):
                self.acknowledged[worker] += amount
            else:
                self.unanswered[worker] += amount

    def _answered(self, api: SidecarServiceStub, request: sidecar_pb.ReportRequest) -> bool:
        while True:
            try:
                api.Report(request, timeout=5)
            except grpc.RpcError:
                if self._stopping.wait(0.02):
                    return False
            else:
                return True


def test_kill_9_of_either_side_under_load_loses_and_doubles_nothing(world: World) -> None:
    def settled() -> int:
        return world.admin().used("acme", "events")

    def wait_for_more() -> None:
        seen = settled()
        eventually(lambda: settled() > seen)

    with Load(world, 4) as load:
        for victim in (world.sidecar, world.control_plane, world.sidecar):
            wait_for_more()
            victim.kill()
            victim.start()
        wait_for_more()
        world.control_plane.kill()
        world.sidecar.kill()
        world.control_plane.start()
        world.sidecar.start()
        wait_for_more()
    eventually(lambda: world.usage_records_unsettled() == 0)
    # Only a call that never got an answer may or may not have been recorded.
    acknowledged = sum(load.acknowledged)
    assert acknowledged <= settled() <= acknowledged + sum(load.unanswered)


def test_a_graceful_stop_hands_over_usage(world: World) -> None:
    api = world.api()
    for _ in range(50):
        consume(api, "acme", "tokens")
    assert world.sidecar.stop() == 0
    assert world.admin().used("acme", "tokens") == 50
    world.sidecar.start()
    assert check(api, "acme", "tokens").decision.used == 50


def test_a_second_sidecar_on_the_same_directory_is_refused(world: World) -> None:
    second = World(world.folder / "second")
    second.folder.mkdir()
    second.sidecar.start(wait_ready=False, WEIGHBRIDGE_SIDECAR_DATA_DIR=str(world.sidecar_dir))
    assert second.sidecar.wait_exit() == 1
    last_line = second.sidecar.log.read_text().strip().splitlines()[-1]
    assert last_line.startswith("error: ")
    assert str(world.sidecar_dir) in last_line
    assert check(world.api(), "acme", "api.calls").decision.allowed


def test_a_port_in_use_is_one_line_that_says_which(world: World) -> None:
    second = World(world.folder / "second")
    second.folder.mkdir()
    second.sidecar.start(
        wait_ready=False, WEIGHBRIDGE_SIDECAR_LISTEN=f"127.0.0.1:{world.sidecar_port}"
    )
    assert second.sidecar.wait_exit() == 1
    last_line = second.sidecar.log.read_text().strip().splitlines()[-1]
    assert f"port {world.sidecar_port} is in use" in last_line
