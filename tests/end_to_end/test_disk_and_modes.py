"""Damaged and copied data directories, and sidecars that hold only some customers."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import pytest

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import types_pb2 as pb


def set_aside(world: World) -> list[Path]:
    return list(world.sidecar_dir.glob("corrupt-*"))


@pytest.mark.parametrize("name", ["journal.sqlite", "snapshots.sqlite"])
def test_a_damaged_file_is_set_aside_and_the_sidecar_starts(world: World, name: str) -> None:
    api = world.api()
    consume(api, "acme", "api.calls", 3)
    eventually(lambda: world.admin().used("acme", "api.calls") == 3)
    assert world.sidecar.stop() == 0
    path = world.sidecar_dir / name
    path.write_bytes(b"not a database " * 1000)
    world.sidecar.start()
    assert [file for file in set_aside(world) if file.name.endswith(name)]
    eventually(lambda: check(api, "acme", "api.calls").decision.used == 3)
    # It is no crash loop: a second start finds nothing wrong any more.
    before = set_aside(world)
    assert world.sidecar.stop() == 0
    world.sidecar.start()
    assert set_aside(world) == before
    assert consume(api, "acme", "api.calls", 7).decision.allowed
    assert consume(api, "acme", "api.calls").decision.reason == pb.REASON_LIMIT_REACHED
    eventually(lambda: world.admin().used("acme", "api.calls") == 10)


def test_a_torn_journal_tail_is_reported_and_what_is_sound_is_kept(world: World) -> None:
    api = world.api()
    world.control_plane.kill()
    for _ in range(5):
        consume(api, "acme", "events")
    world.sidecar.kill()
    log = world.sidecar_dir / "journal.sqlite-wal"
    log.write_bytes(log.read_bytes()[:-100])
    # It may have been killed before its first snapshot was saved: it is ready with the other side.
    world.sidecar.start(wait_ready=False)
    world.control_plane.start()
    world.sidecar.wait_ready()
    assert "torn" in world.sidecar.log.read_text()
    # The last write is incomplete, as after a power cut; everything before it is sound.
    eventually(lambda: world.admin().used("acme", "events") == 4)


def test_a_copied_data_directory_takes_an_identity_of_its_own(world: World) -> None:
    consume(world.api(), "acme", "api.calls", 2)
    world.sidecar.stop()
    twin = World(world.folder / "twin")
    twin.folder.mkdir()
    shutil.copytree(world.sidecar_dir, twin.sidecar_dir)
    world.sidecar.start()
    try:
        twin.sidecar.start(
            WEIGHBRIDGE_SIDECAR_CONTROL_PLANE=f"127.0.0.1:{world.grpc_port}",
            WEIGHBRIDGE_SIDECAR_TOKEN_FILE=str(world.data_dir / "sync.token"),
        )

        def connected() -> set[str]:
            response = world.admin().stub.ListSidecars(
                admin_pb.ListSidecarsRequest(), metadata=world.admin().metadata(), timeout=5
            )
            return {sidecar.sidecar_id for sidecar in response.sidecars}

        eventually(lambda: len(connected()) == 2)
        assert "identity refused" in twin.sidecar.log.read_text()
        consume(world.api(), "acme", "api.calls", 1)
        consume(twin.api(), "acme", "api.calls", 4)
        eventually(lambda: world.admin().used("acme", "api.calls") == 7)
        # Each sees what the other admitted.
        for api in (world.api(), twin.api()):
            eventually(lambda api=api: check(api, "acme", "api.calls").decision.used == 7)
    finally:
        twin.end()


def test_a_sidecar_on_demand_loads_customers_when_asked(world: World) -> None:
    for index in range(5):
        world.admin().create(f"customer-{index}")
    world.sidecar.stop()
    world.sidecar.start(WEIGHBRIDGE_SIDECAR_MODE="on_demand", WEIGHBRIDGE_SIDECAR_CUSTOMERS_MAX="2")
    api = world.api()
    for index in range(5):
        assert consume(api, f"customer-{index}", "api.calls").decision.allowed
    assert check(api, "nobody", "api.calls").decision.reason == pb.REASON_CUSTOMER_UNKNOWN
    for index in range(5):
        eventually(lambda i=index: world.admin().used(f"customer-{i}", "api.calls") == 1)

    def held() -> float:
        _, metrics = world.sidecar.probe("/metrics")
        lines = metrics.splitlines()
        return next(
            float(line.split()[1])
            for line in lines
            if line.startswith("weighbridge_sidecar_customers ")
        )

    eventually(lambda: held() <= 2)
    # One that was dropped comes back with what it used.
    assert check(api, "customer-0", "api.calls").decision.used == 1


def test_a_sidecar_with_a_list_holds_no_other_customer(world: World) -> None:
    world.admin().create("other")
    world.sidecar.stop()
    world.sidecar.start(
        WEIGHBRIDGE_SIDECAR_MODE="listed", WEIGHBRIDGE_SIDECAR_CUSTOMERS="acme,later"
    )
    api = world.api()
    assert consume(api, "acme", "api.calls").decision.allowed
    with pytest.raises(grpc.RpcError) as refused:
        check(api, "other", "api.calls")
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert check(api, "later", "api.calls").decision.reason == pb.REASON_CUSTOMER_UNKNOWN
    world.admin().create("later")
    eventually(lambda: check(api, "later", "api.calls").decision.allowed)
    world.admin().apply(catalog(calls=3))
    eventually(lambda: check(api, "later", "api.calls").decision.limit == 3)


def test_a_revoked_customer_is_refused_at_once_and_can_be_revived(world: World) -> None:
    api, admin = world.api(), world.admin()
    for status, allowed in (
        (pb.CUSTOMER_STATUS_REVOKED, False),
        (pb.CUSTOMER_STATUS_ACTIVE, True),
        (pb.CUSTOMER_STATUS_ARCHIVED, False),
    ):
        request = admin_pb.SetCustomerStatusRequest(id="acme", status=status)
        admin.stub.SetCustomerStatus(request, metadata=admin.metadata(), timeout=5)
        eventually(lambda want=allowed: check(api, "acme", "api.calls").decision.allowed is want)
    assert check(api, "acme", "api.calls").decision.reason == pb.REASON_CUSTOMER_ARCHIVED
