"""Ports of this machine: taken, free, and which one stands in the way."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

from weighbridge.cli.exit_codes import CommandError, ExitCode

LOOPBACK = "127.0.0.1"


def settle_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """Return a port per option, a free one where 0 was wanted.

    Raises CommandError naming the port that is in use, and the option that chooses another.
    """
    held: list[socket.socket] = []
    try:
        # Held until all are known, so that no two of them are the same.
        for option, port in wanted.items():
            held.append(_bound(option, port))
        return {option: bound.getsockname()[1] for option, bound in zip(wanted, held, strict=True)}
    finally:
        for bound in held:
            bound.close()


def _bound(option: str, port: int) -> socket.socket:
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As the servers do: a connection of the last run that lingers is not in the way.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((LOOPBACK, port))
    except OSError as error:
        probe.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"is not free: {error.strerror}"
        raise CommandError(
            f"port {port} of {LOOPBACK} {why}; stop what uses it, or choose another with {option} "
            "(0 takes a free one)",
            ExitCode.FAILED,
        ) from error
    return probe
