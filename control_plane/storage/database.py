"""Transactions off the event loop: one writer at a time, readers beside it.

Core code takes a `Connection` inside a transaction that somebody else began; it never commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import Final, TypeVar

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import StaticPool

from control_plane.storage.migrations import migrate
from control_plane.storage.postgresql import (
    is_conflict,
    is_key_taken,
    is_passing,
    postgres_engines,
)
from control_plane.storage.sqlite import sqlite_engine
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError, WeighbridgeError

T = TypeVar("T")
Begin = Callable[[], AbstractContextManager[Connection]]

READERS: Final = 4
ATTEMPTS_MAX: Final = 8
"""How often a transaction is run before it gives way to those it conflicts with."""


class Database:
    """One environment's database. `url` is an SQLAlchemy URL; `sqlite://` alone is in memory.

    `observe` is told of each transaction whether it was to `read` or `write`, and its seconds.
    It is called on the transaction's thread. `is_exclusive` keeps other control planes from
    writing to a PostgreSQL database; of SQLite files, `locked_database` does.

    Raises FailedPreconditionError where the database's driver is not installed.
    """

    def __init__(
        self,
        url: str,
        observe: Callable[[str, float], None] | None = None,
        *,
        is_exclusive: bool = False,
    ) -> None:
        parsed = make_url(url)
        self._observe = observe
        if parsed.get_backend_name() == "sqlite":
            self._writing = self._reading = sqlite_engine(parsed, READERS + 1)
        else:
            self._writing, self._reading = postgres_engines(
                parsed, READERS, is_exclusive=is_exclusive
            )
        is_in_memory = isinstance(self._writing.pool, StaticPool)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        # The one connection of an in-memory database belongs to one thread at a time.
        self._readers = (
            self._writer if is_in_memory else ThreadPoolExecutor(READERS, "database-reader")
        )

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own, committed when it returns.

        It is run again, from the start, where another transaction came in between: what it did
        besides has to bear that. Raises UnavailableError where the database cannot be reached or
        stays locked.
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
        with self._writing.connect() as plain:
            connection = plain.execution_options(weighbridge_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that only reads, in the calling thread."""
        with self._reading.connect() as connection, connection.begin():
            yield connection

    def migrate(self) -> None:
        """Bring the schema to the newest revision, all of it or nothing.

        Raises FailedPreconditionError where the schema is newer than this software.
        """
        _run(self.writing, migrate)

    def close(self) -> None:
        """Wait for running transactions and close every connection."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._writing.dispose()
        self._reading.dispose()

    def _timed(self, purpose: str, begin: Begin, work: Callable[[Connection], T]) -> T:
        if self._observe is None:
            return _run(begin, work)
        started_s = perf_counter()
        try:
            return _run(begin, work)
        finally:
            self._observe(purpose, perf_counter() - started_s)


class _ConflictError(Exception):
    """Another transaction came in between. The cause is what the database said."""


def _run(begin: Begin, work: Callable[[Connection], T]) -> T:
    cause: BaseException | None = None
    for _ in range(ATTEMPTS_MAX):
        try:
            return _run_once(begin, work)
        except _ConflictError as error:
            cause = error.__cause__
    if isinstance(cause, DBAPIError) and is_key_taken(cause):
        raise cause
    raise UnavailableError("others change the same in the database; try again") from cause


def _run_once(begin: Begin, work: Callable[[Connection], T]) -> T:
    is_worked = False
    try:
        with begin() as connection:
            result = work(connection)
            is_worked = True
    except PoolTimeoutError as error:
        raise UnavailableError("every connection to the database is in use") from error
    except DBAPIError as error:
        if is_conflict(error) or is_key_taken(error):
            raise _ConflictError from error
        told = _told(error, is_committing=is_worked)
        if told is None:
            raise
        raise told from error
    return result


def _told(error: DBAPIError, *, is_committing: bool) -> WeighbridgeError | None:
    """Return what callers are told of an error of the database; None where it is a defect."""
    # The drivers' messages have several lines.
    reason = " ".join(str(error.orig).split())
    if isinstance(error, OperationalError) or error.connection_invalidated or is_passing(error):
        what = "the database cannot be used now"
        if is_committing:
            what = "the database did not confirm a transaction; its changes may be made or not"
        return UnavailableError(f"{what}: {reason}")
    if error.statement is None and not is_committing:
        return FailedPreconditionError(f"the database cannot be used: {reason}")
    return None
