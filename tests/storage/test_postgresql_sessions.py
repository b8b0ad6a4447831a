"""What PostgreSQL needs beyond SQL: sessions, their lock, lost connections, and clear errors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Connection, insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from control_plane.provisioning import current_revision, next_revision
from control_plane.storage import postgresql as sessions
from control_plane.storage.database import Database
from control_plane.storage.tables import environment
from tests.postgresql_server import PostgresServer
from tests.storage_engines import FreshUrl
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

END_WRITERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = '{}' AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')
"""
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


@pytest.fixture
def url(fresh_postgresql_url: FreshUrl) -> Iterator[str]:
    with fresh_postgresql_url() as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LOCK_WAIT_MS", 50)


def take_revision(connection: Connection) -> int:
    return next_revision(connection, 1)


def end(server: PostgresServer, statement: str, url: str) -> None:
    server.execute(statement.format(make_url(url).database))


@pytest.mark.usefixtures("_short_wait")
async def test_one_control_plane_writes_to_a_database(url: str) -> None:
    first, second = Database(url, is_exclusive=True), Database(url, is_exclusive=True)
    assert await first.write(take_revision) == 1

    with pytest.raises(FailedPreconditionError) as caught:
        second.migrate()
    name = make_url(url).database
    assert str(caught.value).startswith(f"another control plane uses the database {name} on ")
    assert str(caught.value).endswith("; stop it or choose another database_url")

    assert await first.write(take_revision) == 2
    first.close()
    assert await second.write(take_revision) == 3
    second.close()


@pytest.mark.usefixtures("_short_wait")
async def test_who_lost_the_lock_writes_nothing_until_it_has_it_again(
    url: str, postgresql: PostgresServer
) -> None:
    first, second = Database(url, is_exclusive=True), Database(url, is_exclusive=True)
    assert await first.write(take_revision) == 1
    end(postgresql, END_WRITERS, url)
    assert await second.write(take_revision) == 2

    with pytest.raises(UnavailableError, match=r"another control plane uses .* since the conn"):
        await first.write(take_revision)
    # What it may still do is tell what there is.
    assert await first.read(current_revision) == 2

    second.close()
    assert await first.write(take_revision) == 3
    first.close()


async def test_connections_of_before_a_restart_fail_nobody(
    url: str, postgresql: PostgresServer
) -> None:
    database = Database(url, is_exclusive=True)
    await database.write(take_revision)
    await asyncio.gather(*(database.read(current_revision) for _ in range(8)))
    end(postgresql, END_ALL, url)

    assert await database.write(take_revision) == 2
    assert await asyncio.gather(*(database.read(current_revision) for _ in range(8))) == [2] * 8
    database.close()


async def test_a_connection_that_breaks_in_a_transaction_is_unavailable(
    database: Database, url: str, postgresql: PostgresServer
) -> None:
    def break_it(connection: Connection) -> int:
        revision = take_revision(connection)
        end(postgresql, END_ALL, url)
        return revision

    # At the commit, of which nobody knows whether it went through.
    with pytest.raises(UnavailableError, match="may be made or not"):
        await database.write(break_it)

    def break_it_early(connection: Connection) -> int:
        break_it(connection)
        return take_revision(connection)

    with pytest.raises(UnavailableError, match="the database cannot be used now"):
        await database.write(break_it_early)
    assert await database.write(take_revision) == 1


async def test_a_read_sees_one_state_and_changes_none(database: Database) -> None:
    await database.write(take_revision)
    with database.reading() as connection:
        assert current_revision(connection) == 1
        await database.write(take_revision)
        assert current_revision(connection) == 1
        with pytest.raises(DBAPIError, match="read-only transaction"):
            connection.execute(insert(environment).values(id=2, revision=0, created_at_ms=1))


async def test_a_transaction_that_lost_is_run_again(database: Database, url: str) -> None:
    other = Database(url)
    runs = 0

    def work(connection: Connection) -> int:
        nonlocal runs
        runs += 1
        seen = current_revision(connection)
        if runs <= 3:
            with other.writing() as theirs:
                take_revision(theirs)
        # Would take the same number again if it went on from what it saw.
        assert take_revision(connection) == seen + 1
        return seen + 1

    assert await database.write(work) == 4
    assert runs == 4
    other.close()


async def test_a_transaction_that_always_loses_gives_up(database: Database, url: str) -> None:
    other = Database(url)

    def work(connection: Connection) -> int:
        current_revision(connection)
        with other.writing() as theirs:
            take_revision(theirs)
        return take_revision(connection)

    with pytest.raises(UnavailableError, match="others change the same in the database"):
        await database.write(work)
    other.close()


async def test_a_key_that_is_there_for_good_is_a_defect(database: Database) -> None:
    runs = 0

    def work(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        take_revision(connection)
        connection.execute(insert(environment).values(id=1, revision=0, created_at_ms=1))

    with pytest.raises(IntegrityError, match="pk_environment"):
        await database.write(work)
    assert runs > 1


def test_what_is_acknowledged_is_on_disk(database: Database) -> None:
    # The server of the tests has it switched off.
    with database.writing() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        assert connection.scalar(text("SHOW transaction_isolation")) == "serializable"
    with database.reading() as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"


def refusal(url: URL | str) -> Exception:
    text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    database = Database(text)
    with pytest.raises((FailedPreconditionError, UnavailableError)) as caught:
        database.migrate()
    database.close()
    assert "\n" not in str(caught.value)
    return caught.value


def test_why_a_server_cannot_be_used_is_one_line_without_secrets(
    url: str, postgresql: PostgresServer
) -> None:
    over_tcp = postgresql.over_tcp(make_url(url))
    wrong = refusal(over_tcp.set(password="not-this-one"))
    assert "password authentication failed" in str(wrong)
    unknown = refusal(over_tcp.set(database="no_such"))
    assert 'database "no_such" does not exist' in str(unknown)
    unreachable = refusal(over_tcp.set(port=1))
    assert "Connection refused" in str(unreachable)
    strange = refusal(over_tcp.update_query_dict({"no_such": "1"}))
    assert 'invalid connection option "no_such"' in str(strange)
    for error in (wrong, unknown, unreachable, strange):
        assert postgresql.password not in str(error)
        assert "not-this-one" not in str(error)


def test_a_password_opens_the_same_database_over_tcp(
    url: str, postgresql: PostgresServer, database: Database
) -> None:
    over_tcp = Database(postgresql.over_tcp(make_url(url)).render_as_string(hide_password=False))
    with over_tcp.writing() as connection:
        take_revision(connection)
    over_tcp.close()
    with database.reading() as connection:
        assert connection.execute(select(environment.c.revision)).scalar_one() == 1


def test_of_several_hosts_the_one_that_answers_is_used(
    url: str, postgresql: PostgresServer
) -> None:
    over_tcp = postgresql.over_tcp(make_url(url))
    hosts = ["127.0.0.1:1", f"127.0.0.1:{over_tcp.port}"]
    several = over_tcp.set(host="", port=None).update_query_dict({"host": hosts})
    database = Database(several.render_as_string(hide_password=False))
    with database.writing() as connection:
        assert take_revision(connection) == 1
    database.close()


def test_a_database_in_another_encoding_is_refused(postgresql: PostgresServer) -> None:
    with postgresql.new_database(encoding="LATIN1") as url:
        error = refusal(url)
    assert isinstance(error, FailedPreconditionError)
    assert str(error).endswith("is encoded in LATIN1; make a database with ENCODING 'UTF8'")


def test_an_old_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SERVER_VERSION_MIN", 99)
    assert "99 or newer is needed" in str(refusal(url))


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(FailedPreconditionError, match="the extra `postgres`"):
        Database("postgresql://user@db.example/weighbridge")
