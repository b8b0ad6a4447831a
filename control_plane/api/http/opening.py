"""Opens the HTTP side, and loads its libraries only then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from control_plane.importers.importing import Importing
from control_plane.metering.reporting import Reporter
from control_plane.settings import Address
from control_plane.storage.database import Database
from weighbridge.rules.errors import FailedPreconditionError


class HttpSide(Protocol):
    """A server: listens from `start` to `stop`."""

    @property
    def address(self) -> str: ...

    async def start(self) -> None: ...

    async def stop(self, grace_s: float) -> None: ...


class Served(NamedTuple):
    """What HTTP serves: services by name, usage, and who is told of each request."""

    database: Database
    services: Mapping[str, Any]
    reporter: Reporter
    now_ms: Callable[[], int]
    observe: Callable[[str, int], None]
    importing: Importing


def open_http(address: Address | None, served: Served) -> HttpSide | None:
    """Return the server, not started; None where there is no address.

    Raises FailedPreconditionError where its libraries are not installed.
    """
    if address is None:
        return None
    try:
        from control_plane.api.http.app import Parts, make_app  # noqa: PLC0415
        from control_plane.api.http.server import HttpServer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(
            f"HTTP needs the module {error.name}; install weighbridge[http]"
        ) from error
    return HttpServer(address, make_app(Parts(*served)))
