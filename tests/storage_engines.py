"""Databases for tests on every engine: those who take `database_url` run once on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from control_plane.storage.database import Database
from tests.postgresql_server import PostgresServer, running_server

ENGINES: Final = ("sqlite", "postgresql")

FreshUrl = Callable[[], AbstractContextManager[str]]
"""Makes a database with the tables in it, there until the context ends."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """Run one server for all tests."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def fresh_postgresql_url(postgresql: PostgresServer) -> FreshUrl:
    """Make databases as copies of one that is migrated: migrating takes its time."""
    template = postgresql.database()
    database = Database(template.render_as_string(hide_password=False))
    database.migrate()
    database.close()

    @contextmanager
    def fresh() -> Iterator[str]:
        with postgresql.new_database(template) as url:
            yield url.render_as_string(hide_password=False)

    return fresh


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Name the engine that the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def empty_database_url(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """Make a database without tables."""
    if engine == "sqlite":
        yield _sqlite_url(tmp_path)
        return
    # Asked for only here: a run of tests on SQLite alone needs no server.
    server: PostgresServer = request.getfixturevalue("postgresql")
    with server.new_database() as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture
def database_url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make a database to be migrated; on PostgreSQL that has been done."""
    if engine == "sqlite":
        yield _sqlite_url(tmp_path)
        return
    fresh: FreshUrl = request.getfixturevalue("fresh_postgresql_url")
    with fresh() as url:
        yield url


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'data.db'}"
