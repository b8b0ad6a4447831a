"""The sidecar's data directory: one process at a time, and the identity that was made with it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from sidecar.journal.problems import ProblemKind, ProblemLog
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError

IDENTITY_BYTES: Final = 16
SET_ASIDE_PREFIX: Final = "corrupt-"
_SET_ASIDE_MAX: Final = 16
_LOCK: Final = "lock"
_IDENTITY: Final = "identity.json"


class Identity(NamedTuple):
    """Who this sidecar is, and the last epoch it began; "" before the first."""

    sidecar_id: str
    epoch: str


class DataDirectory:
    """An exclusively held directory. Close it to let go of it.

    Raises FailedPreconditionError where another process holds it, UnavailableError where it cannot
    be made or written.
    """

    def __init__(self, path: Path, now_ms: int) -> None:
        self.path = path.absolute()
        self.problems = ProblemLog("sidecar")
        self._lock_fd = -1
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = self._lock()
            self._identity = self._load_identity(now_ms)
        except OSError as error:
            self.close()
            raise UnavailableError(
                f"data directory {self.path}: {error.strerror or error}; "
                "the sidecar needs one that it can write"
            ) from error

    @property
    def identity(self) -> Identity:
        """Who this sidecar is."""
        return self._identity

    def keep_epoch(self, epoch: str) -> None:
        """Note the epoch that begins, beside the journal: its successor names it in any case."""
        self._write_identity(Identity(self._identity.sidecar_id, epoch))

    def renew_identity(self) -> Identity:
        """Take a new sidecar id: this directory turned out to be a copy of another's."""
        self._write_identity(Identity(secrets.token_hex(IDENTITY_BYTES), ""))
        return self._identity

    def set_aside(self, names: Iterable[str], now_ms: int) -> list[Path]:
        """Move damaged files out of the way, under names that tell when; return the new names.

        The oldest of those set aside before are removed where there are too many.
        """
        moved = []
        for name in names:
            source = self.path / name
            if source.exists():
                target = self.free_name(name, now_ms)
                source.rename(target)
                moved.append(target)
        self.sync()
        self._remove_oldest_set_aside()
        return moved

    def free_name(self, name: str, now_ms: int) -> Path:
        """Return a path that is not taken for something set aside."""
        moment = datetime.fromtimestamp(now_ms / 1000, tz=UTC).strftime("%Y%m%dT%H%M%S")
        for turn in range(1_000_000):
            path = self.path / f"{SET_ASIDE_PREFIX}{moment}-{turn:02}-{name}"
            if not path.exists():
                return path
        raise UnavailableError(f"data directory {self.path}: too many files named corrupt-*")

    def new_draft(self, name: str) -> Path:
        """Make an empty file that is to be renamed once it is complete; for its owner alone."""
        draft = self.path / f"{name}.draft"
        # SQLite would take what an interrupted draft left behind for its own.
        for path in (draft, draft.with_name(f"{draft.name}-journal")):
            path.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return draft

    def sync(self) -> None:
        """Make names that were given or taken in the directory durable."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let another process have the directory."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self) -> int:
        fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace").strip()
            os.close(fd)
            raise FailedPreconditionError(
                f"data directory {self.path}: another sidecar uses it "
                f"({holder or 'which did not say who it is'}); "
                "stop that one, or give this one a directory of its own"
            ) from None
        # The host, because a process id alone says little where each container counts its own.
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        return fd

    def _load_identity(self, now_ms: int) -> Identity:
        path = self.path / _IDENTITY
        try:
            identity = _identity_from_text(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            identity = None
        except ValueError as error:
            moved = self.set_aside([_IDENTITY], now_ms)
            self.problems.report(
                ProblemKind.CORRUPT_IDENTITY,
                f"{path} is damaged ({error}) and set aside as {moved[0].name}; the sidecar takes "
                "a new id, and records already written keep their old one",
            )
            identity = None
        if identity is not None:
            return identity
        self._write_identity(Identity(secrets.token_hex(IDENTITY_BYTES), ""))
        return self._identity

    def _write_identity(self, identity: Identity) -> None:
        draft = self.path / f"{_IDENTITY}.draft"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, _identity_to_text(identity).encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.replace(self.path / _IDENTITY)
        self.sync()
        self._identity = identity

    def _remove_oldest_set_aside(self) -> None:
        found = sorted(self.path.glob(f"{SET_ASIDE_PREFIX}*"))
        for path in found[:-_SET_ASIDE_MAX]:
            path.unlink()


def _identity_to_text(identity: Identity) -> str:
    checksum = zlib.crc32("\n".join(identity).encode())
    return json.dumps({**identity._asdict(), "checksum": checksum}, indent=2) + "\n"


def _identity_from_text(text: str) -> Identity:
    """Read the identity file. Raises ValueError where it is not as it was written."""
    stored = json.loads(text)
    if not isinstance(stored, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one error for any damage
    identity = Identity(str(stored.get("sidecar_id")), str(stored.get("epoch")))
    if stored.get("checksum") != zlib.crc32("\n".join(identity).encode()):
        raise ValueError("its checksum does not match")
    return identity
