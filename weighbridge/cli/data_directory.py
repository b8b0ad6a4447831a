"""The data directory of `up`: one at a time, for its owner alone, and what lies in it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from weighbridge.cli.exit_codes import CommandError, ExitCode
from weighbridge.cli.json_shapes import JsonObject

_SOCKET_PATH_BYTES_MAX: Final = 107
"""What the kernel's sockaddr_un holds beside its final zero."""


class DataDirectory:
    """Where both processes keep everything."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def sidecar(self) -> Path:
        return self.root / "sidecar"

    @property
    def socket(self) -> Path:
        return self.sidecar / "sidecar.sock"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin.token"

    @property
    def sync_token(self) -> Path:
        return self.root / "sync.token"

    @property
    def addresses(self) -> Path:
        return self.root / "addresses.json"

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.root / f"{name}.log"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the directory for this process. Raises CommandError if another `up` does."""
        self._make()
        lock = os.open(self.root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(lock)
            try:
                yield
            finally:
                self.addresses.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _lock(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"another `weighbridge up` runs in {self.root}; "
                "stop it, or choose another directory with --data-dir",
                ExitCode.FAILED,
            ) from None

    def _make(self) -> None:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(
                f"cannot make the data directory {self.root}: {error.strerror}", ExitCode.FAILED
            ) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise CommandError(f"cannot write to {self.root}", ExitCode.FAILED)
        if len(os.fsencode(self.socket)) > _SOCKET_PATH_BYTES_MAX:
            raise CommandError(
                f"{self.socket} is too long for a unix socket ({_SOCKET_PATH_BYTES_MAX} bytes); "
                "choose a shorter --data-dir",
                ExitCode.FAILED,
            )

    def write_addresses(self, addresses: JsonObject) -> None:
        """Write where everything listens, for scripts: whole or not at all."""
        draft = self.addresses.with_suffix(".draft")
        draft.write_text(json.dumps(addresses, indent=2) + "\n", encoding="utf-8")
        draft.replace(self.addresses)
