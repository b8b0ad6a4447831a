"""The two processes of `up` together: started in order, watched, stopped in order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from weighbridge.cli.child import Child
from weighbridge.cli.data_directory import DataDirectory
from weighbridge.cli.exit_codes import CommandError, ExitCode
from weighbridge.cli.json_shapes import JsonObject
from weighbridge.cli.ports import LOOPBACK, settle_ports
from weighbridge.cli.stop_signals import StopSignals
from weighbridge.cli.up_screen import UpScreen

_TICK_S: Final = 0.1
# Above the grace that the processes give themselves, so that they end by their own means.
_STOP_GRACE_S: Final = 20.0


class Ports(NamedTuple):
    """Where both listen on loopback."""

    sidecar: int
    sidecar_probe: int
    control_plane: int
    control_plane_probe: int

    def settled(self) -> Ports:
        """Return the ports with free ones in place of 0. Raises CommandError naming a taken one."""
        options = {
            f"--{name.replace('_', '-')}-port": port for name, port in self._asdict().items()
        }
        return Ports(*settle_ports(options).values())


class Pair:
    """A control plane and a sidecar on one data directory."""

    def __init__(self, directory: DataDirectory, ports: Ports, screen: UpScreen) -> None:
        self.directory = directory
        self._screen = screen
        self.ports = ports
        self.control_plane = Child(
            "the control plane",
            "control_plane",
            directory.log("control-plane"),
            ports.control_plane_probe,
        )
        self.sidecar = Child(
            "the sidecar", "sidecar", directory.log("sidecar"), ports.sidecar_probe
        )

    def start(self, stop: StopSignals, ready_timeout_s: float) -> bool:
        """Start both and wait until they are ready; False where a stop came before.

        Raises CommandError where one does not get there.
        """
        return self._start(
            self.control_plane, self._control_plane_variables(), stop, ready_timeout_s
        ) and self._start(self.sidecar, self._sidecar_variables(), stop, ready_timeout_s)

    def _start(
        self, child: Child, variables: Mapping[str, str], stop: StopSignals, timeout_s: float
    ) -> bool:
        child.start(variables)
        self._screen.waits_for(child)
        deadline_s = time.monotonic() + timeout_s
        while why := child.in_the_way():
            self._tick(stop)
            if stop.is_asked:
                return False
            if time.monotonic() > deadline_s:
                raise CommandError(
                    f"{child.name} was not ready within {timeout_s:g} s: {why}; "
                    f"its log: {child.log_file}; a longer wait: --ready-timeout",
                    ExitCode.FAILED,
                )
        return True

    def watch(self, stop: StopSignals) -> None:
        """Wait for a stop. Raises CommandError when a process ends by itself."""
        while not stop.is_asked:
            self._tick(stop)

    def _tick(self, stop: StopSignals) -> None:
        stop.wait(_TICK_S)
        self._screen.tick()
        if stop.is_asked:
            return
        for child in (self.control_plane, self.sidecar):
            if child.exit_status is not None:
                raise CommandError(_ending(child), ExitCode.FAILED)

    def stop(self, stop: StopSignals) -> list[Child]:
        """Stop the sidecar, so that it hands over its usage, then the control plane.

        Returns those that had to be killed.
        """
        return [
            child for child in (self.sidecar, self.control_plane) if not self._stop(child, stop)
        ]

    def _stop(self, child: Child, stop: StopSignals) -> bool:
        if child.pid is None or child.exit_status is not None:
            return True
        self._screen.say(f"waiting for {child.name} to stop")
        child.terminate()
        deadline_s = time.monotonic() + _STOP_GRACE_S
        while child.exit_status is None:
            if stop.is_urgent or time.monotonic() > deadline_s:
                child.kill()
                return False
            time.sleep(_TICK_S)
            self._screen.tick()
        return True

    def addresses(self) -> JsonObject:
        """Return where everything is: what `up --json` prints and `addresses.json` holds."""
        directory, ports = self.directory, self.ports
        return {
            "sidecar": f"{LOOPBACK}:{ports.sidecar}",
            "sidecar_socket": f"unix:{directory.socket}",
            "sidecar_probes": f"http://{LOOPBACK}:{ports.sidecar_probe}",
            "control_plane": f"{LOOPBACK}:{ports.control_plane}",
            "control_plane_probes": f"http://{LOOPBACK}:{ports.control_plane_probe}",
            "admin_token_file": str(directory.admin_token),
            "sync_token_file": str(directory.sync_token),
            "data_dir": str(directory.root),
            "logs": [str(self.control_plane.log_file), str(self.sidecar.log_file)],
            "pids": {"control_plane": self.control_plane.pid, "sidecar": self.sidecar.pid},
        }

    def _control_plane_variables(self) -> dict[str, str]:
        prefix = "WEIGHBRIDGE_CONTROL_PLANE_"
        return {
            f"{prefix}DATA_DIR": str(self.directory.root),
            f"{prefix}LISTEN": f"{LOOPBACK}:{self.ports.control_plane}",
            f"{prefix}PROBE_LISTEN": f"{LOOPBACK}:{self.ports.control_plane_probe}",
            f"{prefix}ADMIN_TOKEN_FILE": str(self.directory.admin_token),
            f"{prefix}SYNC_TOKEN_FILE": str(self.directory.sync_token),
        }

    def _sidecar_variables(self) -> dict[str, str]:
        prefix = "WEIGHBRIDGE_SIDECAR_"
        return {
            f"{prefix}DATA_DIR": str(self.directory.sidecar),
            f"{prefix}SOCKET": str(self.directory.socket),
            f"{prefix}LISTEN": f"{LOOPBACK}:{self.ports.sidecar}",
            f"{prefix}PROBE_LISTEN": f"{LOOPBACK}:{self.ports.sidecar_probe}",
            f"{prefix}CONTROL_PLANE": f"{LOOPBACK}:{self.ports.control_plane}",
            f"{prefix}TOKEN_FILE": str(self.directory.sync_token),
        }


def _ending(child: Child) -> str:
    status = child.exit_status or 0
    how = f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}"
    words = child.last_words()
    return f"{child.name} {how}: {words or 'it logged nothing'} (its log: {child.log_file})"
