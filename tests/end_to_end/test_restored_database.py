"""The control plane's database is put back to an earlier state under a sidecar that goes on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.end_to_end.world import World, catalog, check, consume, eventually
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import types_pb2 as pb


def copy_database(source: Path, target: Path) -> None:
    """Copy the SQLite database of a control plane that is stopped."""
    target.mkdir(exist_ok=True)
    for old in target.glob("*.db*"):
        old.unlink()
    for file in source.glob("*.db*"):
        shutil.copy2(file, target / file.name)


def raise_limit(world: World, customer: str, limit: int) -> None:
    limits = [pb.Limit(id="month", limit=limit)]
    entitlement = pb.Entitlement(feature="api.calls", enabled=True, limits=limits)
    request = admin_pb.SetOverrideRequest(customer=customer, entitlement=entitlement)
    admin = world.admin()
    admin.stub.SetOverride(request, metadata=admin.metadata(), timeout=10)


def limit_of(world: World, customer: str) -> int:
    return check(world.api(), customer, "api.calls").decision.limit


def is_used(world: World, feature: str, amount: int) -> bool:
    return check(world.api(), "acme", feature).decision.used == amount


@contextmanager
def answering(world: World) -> Iterator[Callable[[], int]]:
    """Use 1 token at a time until the block ends; the units acknowledged so far."""
    stopping = threading.Event()
    acknowledged = [0]

    def use() -> None:
        api = world.api()
        while not stopping.is_set():
            assert consume(api, "acme", "tokens").decision.allowed
            acknowledged[0] += 1
            stopping.wait(0.002)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        yield lambda: acknowledged[0]
    finally:
        stopping.set()
        thread.join()


def test_an_older_database_under_a_live_sidecar(world: World) -> None:
    api, backup = world.api(), world.folder / "backup"
    consume(api, "acme", "api.calls", 3)
    with answering(world) as tokens:
        eventually(lambda: tokens() > 20)
        eventually(lambda: world.admin().used("acme", "api.calls") == 3)
        assert world.control_plane.stop() == 0
        copy_database(world.data_dir, backup)
        world.control_plane.start()

        # What is undone later: a limit, a catalog, a customer, a status, usage.
        admin = world.admin()
        raise_limit(world, "acme", 50)
        admin.apply(catalog(calls=20))
        admin.create("late")
        eventually(lambda: limit_of(world, "acme") == 50)
        eventually(lambda: limit_of(world, "late") == 20)
        assert consume(api, "acme", "api.calls", 4).decision.allowed
        assert consume(api, "late", "api.calls", 5).decision.allowed
        eventually(lambda: admin.used("acme", "api.calls") == 7)
        seen = tokens()
        eventually(lambda: admin.used("acme", "tokens") > seen)

        world.control_plane.kill()
        copy_database(backup, world.data_dir)
        world.control_plane.start()
        # Another history, past the versions that the sidecar has seen.
        for limit in (30, 31, 32, 33, 34):
            raise_limit(world, "acme", limit)

        eventually(lambda: limit_of(world, "acme") == 34)
        # It is dropped once everything there is has come, which the limit may come before.
        unknown = pb.REASON_CUSTOMER_UNKNOWN
        eventually(lambda: check(api, "late", "api.calls").decision.reason == unknown)
        world.admin().create("late")
        eventually(lambda: limit_of(world, "late") == 10)
        world.admin().apply(catalog(calls=40))
        eventually(lambda: limit_of(world, "late") == 40)
    used = tokens()

    eventually(lambda: world.usage_records_unsettled() == 0)
    assert world.admin().used("acme", "tokens") == used
    assert world.admin().used("acme", "api.calls") == 7
    for feature, expected in (("tokens", used), ("api.calls", 7)):
        eventually(partial(is_used, world, feature, expected))
    assert any("earlier state" in str(line["event"]) for line in world.sidecar_logs())

    # What is on its disk is of the new history alone.
    world.control_plane.kill()
    assert world.sidecar.stop() == 0
    world.sidecar.start()
    assert limit_of(world, "acme") == 34
    assert check(api, "acme", "api.calls").decision.used == 7
