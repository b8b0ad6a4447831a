"""The control plane's database: transactions at once, that may fail at any point."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import NoReturn, TypeVar

from sqlalchemy import Connection

from control_plane.storage.database import Database

T = TypeVar("T")


class ProcessDiedError(BaseException):
    """The process of the control plane was killed where this is raised."""


class ImmediateDatabase(Database):
    """Transactions in the calling thread. `strike` is told of every point where one may fail."""

    def __init__(self) -> None:
        super().__init__("sqlite://")
        raw = self._writing.raw_connection()
        _migrated().backup(raw.driver_connection)  # type: ignore[arg-type]
        raw.close()
        self.strike: Callable[[str], bool] = lambda _where: False
        self.writes = 0

    async def write(self, work: Callable[[Connection], T]) -> T:
        if self.strike("begin"):
            raise ProcessDiedError
        if self.strike("conflict"):
            self._run_in_vain(work)
        with self.writing() as connection:
            result = work(connection)
            if self.strike("commit"):
                raise ProcessDiedError
        self.writes += 1
        if self.strike("answer"):
            raise ProcessDiedError
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        with self.reading() as connection:
            return work(connection)

    def _run_in_vain(self, work: Callable[[Connection], T]) -> None:
        """Do the work and roll it back, as where another transaction came in between."""
        try:
            with self.writing() as connection:
                work(connection)
                _conflict()
        except _ConflictError:
            return


def _conflict() -> NoReturn:
    raise _ConflictError


class _ConflictError(Exception):
    """The work of a transaction is undone."""


@cache
def _migrated() -> sqlite3.Connection:
    """Return an empty database, migrated once for all simulations of a process."""
    database = Database("sqlite://")
    database.migrate()
    raw = database._writing.raw_connection()
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    raw.driver_connection.backup(copy)  # type: ignore[union-attr]
    raw.close()
    database.close()
    return copy
