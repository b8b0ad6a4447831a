"""Transactions off the event loop: one writer at a time on SQLite, readers beside it.

Core code takes a `Connection` inside a transaction that somebody else began; it never commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from control_plane.storage.migrations import migrate
from weighbridge.rules.errors import UnavailableError

T = TypeVar("T")

READERS = 4
SQLITE_BUSY_TIMEOUT_MS = 10_000


class Database:
    """One environment's database. `url` is an SQLAlchemy URL; `sqlite://` alone is in memory.

    `observe` is told of each transaction whether it was to `read` or `write`, and its seconds.
    It is called on the transaction's thread.
    """

    def __init__(self, url: str, observe: Callable[[str, float], None] | None = None) -> None:
        self.url = url
        self._observe = observe
        self.engine = _make_engine(url)
        is_in_memory = isinstance(self.engine.pool, StaticPool)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        # The one connection of an in-memory database belongs to one thread at a time.
        self._readers = (
            self._writer if is_in_memory else ThreadPoolExecutor(READERS, "database-reader")
        )

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own, committed when it returns.

        Raises UnavailableError where the database cannot be reached or stays locked.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, self._timed, "write", self.writing, work
        )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent view of the database. Raises UnavailableError."""
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._timed, "read", self.reading, work
        )

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Begin a writing transaction in the calling thread."""
        with self.engine.connect() as plain:
            connection = plain.execution_options(weighbridge_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that only reads, in the calling thread."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def migrate(self) -> None:
        """Bring the schema to the newest revision, all of it or nothing.

        Raises FailedPreconditionError where the schema is newer than this software.
        """
        self._in_transaction(self.writing, migrate)

    def close(self) -> None:
        """Wait for running transactions and close every connection."""
        self._writer.shutdown()
        self._readers.shutdown()
        self.engine.dispose()

    def _timed(self, purpose: str, begin: Callable[[], Any], work: Callable[[Connection], T]) -> T:
        if self._observe is None:
            return self._in_transaction(begin, work)
        started_s = perf_counter()
        try:
            return self._in_transaction(begin, work)
        finally:
            self._observe(purpose, perf_counter() - started_s)

    @staticmethod
    def _in_transaction(begin: Callable[[], Any], work: Callable[[Connection], T]) -> T:
        try:
            with begin() as connection:
                return work(connection)
        except OperationalError as error:
            message = f"the database cannot be used now: {error.orig}"
            raise UnavailableError(message) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                message = f"the database connection was lost: {error.orig}"
                raise UnavailableError(message) from error
            raise


def _make_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_size=READERS + 1)
    is_in_memory = parsed.database in (None, "", ":memory:")
    if is_in_memory:
        engine = create_engine(
            parsed, poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
    else:
        engine = create_engine(parsed, pool_size=READERS + 1)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction handling is off: _begin_sqlite begins, SQLAlchemy commits.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # What is acknowledged to a sidecar must survive a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: a read that becomes a write would fail when another wrote.
    writes = connection.get_execution_options().get("weighbridge_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
