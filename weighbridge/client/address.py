"""Where the sidecar is: the argument, else WEIGHBRIDGE_SIDECAR, else 127.0.0.1:7700."""

from __future__ import annotations

import os
import re
from typing import Final

from weighbridge.rules.errors import InvalidArgumentError

SIDECAR_VARIABLE: Final = "WEIGHBRIDGE_SIDECAR"
ADDRESS_DEFAULT: Final = "127.0.0.1:7700"

_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", re.ASCII)
_PORT_MAX = 65_535
# What sockaddr_un holds, less the closing zero byte.
_SOCKET_PATH_BYTES_MAX = 107
_RULE = "give host:port or unix:///path/to/socket"


def sidecar_address(address: str | None) -> str:
    """Return the address to use, checked. No file or socket is touched.

    Raises InvalidArgumentError that names where the bad address came from.
    """
    if address is not None:
        return _checked("address", address)
    from_environment = os.environ.get(SIDECAR_VARIABLE)
    if from_environment:
        return _checked(SIDECAR_VARIABLE, from_environment)
    return ADDRESS_DEFAULT


def _checked(source: str, address: str) -> str:
    if address.startswith("unix:"):
        return "unix:" + _checked_path(source, address)
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None:
        raise InvalidArgumentError(source, f"{address!r} is not an address; {_RULE}")
    if not 0 < int(match[1]) <= _PORT_MAX:
        raise InvalidArgumentError(source, f"{address!r} has no port of 1 to {_PORT_MAX}")
    return address


def _checked_path(source: str, address: str) -> str:
    path = address.removeprefix("unix:")
    if path.startswith("//"):
        path = path.removeprefix("//")
    if not path.startswith("/") or path.startswith("//") or path.endswith("/"):
        raise InvalidArgumentError(source, f"{address!r} names no absolute path; {_RULE}")
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES_MAX:
        problem = f"the path is longer than {_SOCKET_PATH_BYTES_MAX} bytes; move the socket"
        raise InvalidArgumentError(source, problem)
    return path
