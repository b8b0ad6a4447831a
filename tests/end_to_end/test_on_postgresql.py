"""The whole path with the control plane on PostgreSQL, which is killed and restarted under it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.end_to_end.world import World, catalog, check, consume, eventually
from tests.postgresql_server import PostgresServer, running_server
from weighbridge.v1 import types_pb2 as pb


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Run a server that these tests may restart."""
    with running_server() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, server: PostgresServer) -> Iterator[World]:
    """Both processes up, the catalog applied, customer `acme` on plan free."""
    with server.new_database() as url:
        world = World(tmp_path, server.over_tcp(url).render_as_string(hide_password=False))
        try:
            world.start()
            world.admin().apply(catalog())
            world.admin().create("acme")
            assert check(world.api(), "acme", "api.calls").decision.allowed
            yield world
        finally:
            world.end()
    assert server.password not in world.control_plane.log.read_text()


def test_usage_comes_through_a_kill_of_the_control_plane(world: World) -> None:
    api = world.api()
    world.admin().apply_cached(api, catalog())
    assert consume(api, "acme", "api.calls", 3).decision.allowed
    eventually(lambda: world.admin().used("acme", "api.calls") == 3)
    assert not list(world.data_dir.glob("*.db*"))

    world.control_plane.kill()
    assert consume(api, "acme", "api.calls", 4).decision.allowed
    world.control_plane.start()
    eventually(lambda: world.admin().used("acme", "api.calls") == 7)

    world.admin().apply(catalog(calls=8))
    eventually(lambda: check(api, "acme", "api.calls").decision.limit == 8)
    assert consume(api, "acme", "api.calls", 1).decision.allowed
    assert consume(api, "acme", "api.calls", 1).decision.reason == pb.REASON_LIMIT_REACHED
    assert world.control_plane.stop() == 0


def test_a_second_control_plane_is_refused_in_one_line(world: World, tmp_path: Path) -> None:
    second = World(tmp_path / "second", world.database_url)
    second.folder.mkdir()
    second.control_plane.start(wait_ready=False)
    assert second.control_plane.wait_exit() == 1
    last_line = second.control_plane.log.read_text().strip().splitlines()[-1]
    assert last_line.startswith("error: another control plane uses the database test_")
    world.admin().create("beta")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_server_that_restarts_loses_nothing(
    world: World, server: PostgresServer, number: signal.Signals
) -> None:
    api = world.api()
    world.admin().apply_cached(api, catalog())
    assert consume(api, "acme", "api.calls", 2).decision.allowed
    eventually(lambda: world.admin().used("acme", "api.calls") == 2)
    assert consume(api, "acme", "api.calls", 1).decision.allowed

    server.stop(number)
    eventually(lambda: world.control_plane.probe("/readyz")[0] == 503)
    assert world.control_plane.probe("/livez")[0] == 200
    with pytest.raises(grpc.RpcError) as caught:
        world.admin().create("beta")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    # Whoever asks without a valid token learns nothing of the database.
    assert caught.value.details() == "the token cannot be checked now; try again"
    assert consume(api, "acme", "api.calls", 3).decision.allowed

    server.start()
    eventually(lambda: world.control_plane.probe("/readyz")[0] == 200)
    eventually(lambda: world.admin().used("acme", "api.calls") == 6)
    eventually(lambda: world.usage_records_unsettled() == 0)
    world.admin().create("beta")
    eventually(lambda: check(api, "beta", "api.calls").decision.allowed)
    assert check(api, "acme", "api.calls").decision.used == 6
