"""The processes under load: started on free ports in one directory, killed, restarted, stopped."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.failure import BenchError

LOOPBACK: Final = "127.0.0.1"
READY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 30.0
_POLL_S: Final = 0.02
_PROBE_S_MAX: Final = 2.0
_REPOSITORY: Final = Path(__file__).parents[1]


class Process:
    """One Python module as a process, pinned to a core where one is given."""

    def __init__(
        self,
        module: str,
        log_file: Path,
        *,
        arguments: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        core: int | None = None,
    ) -> None:
        self.module = module
        self._log_file = log_file
        self._variables = variables or {}
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        self._command = [*pinned, sys.executable, "-m", module, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Only between `start` and `stop`."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; what it writes goes to the end of its log."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=_REPOSITORY,
                env={**os.environ, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def require_alive(self) -> None:
        """Raise BenchError with the last words of a process that ended."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            words = lines[-1] if lines else "it wrote nothing"
            raise BenchError(f"{self.module} ended with {status}: {words}")

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and see that it does. Nothing where it has ended or never started."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()


class Sidecar(NamedTuple):
    """A sidecar and where it listens."""

    process: Process
    address: str
    probe_port: int


class Installation:
    """A control plane and a sidecar on one directory; ports stay the same through restarts."""

    def __init__(self, directory: Path, *, sidecar_core: int | None = None) -> None:
        self.directory = directory
        port, self.control_plane_probe_port = free_ports(2)
        self.control_plane_address = f"{LOOPBACK}:{port}"
        self.control_plane = Process(
            "control_plane",
            directory / "control-plane.log",
            variables=_settings(
                "CONTROL_PLANE",
                data_dir=str(directory),
                listen=self.control_plane_address,
                probe_listen=f"{LOOPBACK}:{self.control_plane_probe_port}",
            ),
        )
        self.sidecar, self.sidecar_address, self.sidecar_probe_port = self.new_sidecar(
            "sidecar", core=sidecar_core
        )

    def new_sidecar(self, name: str, *, core: int | None = None) -> Sidecar:
        """Return a sidecar with a directory of its own, to be started."""
        port, probe_port = free_ports(2)
        address = f"{LOOPBACK}:{port}"
        process = Process(
            "sidecar",
            self.directory / f"{name}.log",
            variables=_settings(
                "SIDECAR",
                data_dir=str(self.directory / name),
                listen=address,
                probe_listen=f"{LOOPBACK}:{probe_port}",
                control_plane=self.control_plane_address,
                token_file=str(self.directory / "sync.token"),
            ),
            core=core,
        )
        return Sidecar(process, address, probe_port)

    @property
    def admin_token(self) -> str:
        """The token for the admin service."""
        return (self.directory / "admin.token").read_text(encoding="utf-8").strip()

    def start(self) -> None:
        """Start both and wait until they are ready."""
        self.control_plane.start()
        self.wait_control_plane()
        self.sidecar.start()
        self.wait_sidecar()

    def wait_control_plane(self) -> None:
        """Wait until the control plane is ready."""
        wait_ready(self.control_plane, self.control_plane_probe_port)

    def wait_sidecar(self) -> None:
        """Wait until the sidecar is ready."""
        wait_ready(self.sidecar, self.sidecar_probe_port)

    def stop(self) -> None:
        """Stop the sidecar, so that it hands over its usage, then the control plane."""
        self.sidecar.stop()
        self.control_plane.stop()


@contextmanager
def running(installation: Installation) -> Iterator[Installation]:
    """Run both processes until the block ends."""
    with ExitStack() as stack:
        stack.callback(installation.stop)
        installation.start()
        yield installation


def wait_ready(process: Process, probe_port: int, within_s: float = READY_S_MAX) -> None:
    """Wait until /readyz says yes. Raises BenchError when it does not, or the process ends."""
    deadline_s = time.monotonic() + within_s
    while True:
        status, text = probe(probe_port, "/readyz")
        if status == http.HTTPStatus.OK:
            return
        process.require_alive()
        if time.monotonic() > deadline_s:
            why = text.strip() or "it does not answer"
            raise BenchError(f"{process.module} was not ready within {within_s:g} s: {why}")
        time.sleep(_POLL_S)


def wait_listening(process: Process, port: int) -> None:
    """Wait until a port takes connections. Raises BenchError when it does not in time."""
    deadline_s = time.monotonic() + READY_S_MAX
    while True:
        with socket.socket() as asking:
            if asking.connect_ex((LOOPBACK, port)) == 0:
                return
        process.require_alive()
        if time.monotonic() > deadline_s:
            raise BenchError(f"{process.module} did not listen within {READY_S_MAX:g} s")
        time.sleep(_POLL_S)


def probe(port: int, path: str) -> tuple[int, str]:
    """Return status and text of a path on the probe port; status 0 where nothing listens."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_PROBE_S_MAX)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((LOOPBACK, 0))
        return [bound.getsockname()[1] for bound in sockets]


def _settings(process: str, **values: str) -> dict[str, str]:
    return {f"WEIGHBRIDGE_{process}_{name.upper()}": value for name, value in values.items()}
