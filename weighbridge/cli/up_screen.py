"""What `up` shows while it works: a spinner, or the logs of both; and the panel when all is up."""

from __future__ import annotations

from collections.abc import Sequence

from rich.panel import Panel

from weighbridge.cli.child import Child
from weighbridge.cli.json_shapes import JsonObject
from weighbridge.cli.log_tail import LogTail
from weighbridge.cli.output import facts, print_human, screen
from weighbridge.v1.admin_service_pb2 import ApplyCatalogResponse


class UpScreen:
    """Progress on stderr, in the order it happens."""

    def __init__(self, *, verbose: bool) -> None:
        console = screen(to_stderr=True)
        # A spinner and logs on the same screen would overwrite each other.
        self._shows_logs = verbose
        self._tails: list[LogTail] = []
        self._status = None if verbose or not console.is_terminal else console.status("")

    def waits_for(self, child: Child) -> None:
        """Say that a process was started."""
        if self._shows_logs:
            self._tails.append(LogTail(child.log_file))
        self.say(f"waiting for {child.name} to be ready")

    def say(self, doing: str) -> None:
        """Say what goes on."""
        if self._status is not None:
            self._status.update(f"{doing} ...")
            self._status.start()

    def tick(self) -> None:
        """Show what the processes logged."""
        for tail in self._tails:
            tail.forward()

    def rest(self) -> None:
        """Show nothing more of what goes on: it is done."""
        if self._status is not None:
            self._status.stop()

    def close(self) -> None:
        """End, and leave the screen clean."""
        self.rest()
        for tail in self._tails:
            tail.close()


def announce(addresses: JsonObject, applied: Sequence[ApplyCatalogResponse]) -> None:
    """Print where everything is, and what to do next."""
    catalogs = ", ".join(f"{each.catalog} (version {each.version})" for each in applied)
    rows = facts(
        [
            ("applications", addresses["sidecar"]),
            ("", addresses["sidecar_socket"]),
            ("administration", addresses["control_plane"]),
            ("admin token", addresses["admin_token_file"]),
            ("sync token", addresses["sync_token_file"]),
            ("sidecar probes", f"{addresses['sidecar_probes']}/readyz /livez /metrics"),
            ("control plane probes", f"{addresses['control_plane_probes']}/readyz /livez /metrics"),
            ("data and logs", addresses["data_dir"]),
            ("catalogs", catalogs),
        ]
    )
    print_human(Panel(rows, title="Weighbridge is up", subtitle="Ctrl-C stops it", expand=False))
