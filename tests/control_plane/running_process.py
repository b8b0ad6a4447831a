"""`python -m control_plane`, started, read and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PREFIX = "WEIGHBRIDGE_CONTROL_PLANE_"
DEADLINE_S = 30.0
POLL_S = 0.02


class RunningProcess:
    """One start of the process. Ports are free ones unless a test names them."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        values = {
            "data_dir": str(data_dir),
            "listen": "127.0.0.1:0",
            "probe_listen": "127.0.0.1:0",
            **settings,
        }
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WEIGHBRIDGE_")}
        environment |= {PREFIX + name.upper(): value for name, value in values.items()}
        self._log = data_dir.parent / f"log-{time.monotonic_ns()}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "control_plane"],
                env=environment,
                cwd=data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def listening(self) -> dict[str, Any]:
        """Wait until it listens; return what it said then."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            for line in self.log.splitlines():
                if line.startswith("{") and line.endswith("}"):
                    event: dict[str, Any] = json.loads(line)
                    if event["event"] == "control plane listens":
                        return event
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline_s, self.log
            time.sleep(POLL_S)

    def ended(self) -> int:
        """Wait until it ends by itself; return the exit code."""
        return self._process.wait(DEADLINE_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; return the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(DEADLINE_S)
