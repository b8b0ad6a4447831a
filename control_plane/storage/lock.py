"""One process per SQLite file: the second is told so instead of both getting slow and stale."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from weighbridge.rules.errors import FailedPreconditionError


@contextmanager
def locked_database(url: str) -> Iterator[None]:
    """Hold a SQLite file for this process; the kernel lets go when it ends, however it ends.

    A database in memory is this process's anyway; of a server's, `Database` sees to it. Raises
    FailedPreconditionError.
    """
    parsed = make_url(url)
    name = parsed.database
    if parsed.get_backend_name() != "sqlite" or not name or name == ":memory:":
        yield
        return
    path = Path(f"{name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"{path} cannot be opened: {error.strerror or error}"
        raise FailedPreconditionError(message) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPreconditionError(
                f"another control plane uses the database {name}; stop it or choose "
                "another data_dir"
            ) from None
        yield
    finally:
        os.close(descriptor)
