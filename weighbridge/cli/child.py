"""A child process of `up`: its log, its readiness and its end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from weighbridge.cli.ports import LOOPBACK
from weighbridge.cli.probe import in_the_way

_PR_SET_PDEATHSIG: Final = 1
_PROBE_TIMEOUT_S: Final = 1.0
_LOG_TAIL_BYTES: Final = 4096


class Child:
    """One of the two processes. Its output goes to its log file, which outlives `up`."""

    def __init__(self, name: str, module: str, log_file: Path, probe_port: int) -> None:
        self.name = name
        self.log_file = log_file
        self._module = module
        self._probe_port = probe_port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None before the start."""
        return self._process.pid if self._process else None

    @property
    def exit_status(self) -> int | None:
        """How the process ended; None before the start and while it runs."""
        return self._process.poll() if self._process else None

    def start(self, variables: Mapping[str, str]) -> None:
        """Start the process. Its log starts anew; the last one is kept beside it."""
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.old"))
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal reaches `up` alone, which stops the two in their order.
                start_new_session=True,
                preexec_fn=_ON_START,  # noqa: PLW1509 - `up` has no threads yet
            )

    def in_the_way(self) -> str:
        """Return why the process is not ready yet; empty where it is."""
        return in_the_way(f"{LOOPBACK}:{self._probe_port}", _PROBE_TIMEOUT_S)

    def terminate(self) -> None:
        """Ask the process to end gracefully; nothing where it has ended."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """Return the last line of the log that is not blank."""
        with self.log_file.open("rb") as log:
            log.seek(max(0, self.log_file.stat().st_size - _LOG_TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


_LIBC: Final = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """Ask the kernel to stop the child gracefully when `up` is killed: no orphan keeps a port."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_ON_START: Final = _end_with_parent if sys.platform == "linux" else None
