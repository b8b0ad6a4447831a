"""Puts the control plane together, runs it and stops it."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from sqlalchemy import Connection

from control_plane.api.admin_service import AdminService
from control_plane.api.metrics import ControlPlaneMetrics
from control_plane.api.server import ApiServer
from control_plane.provisioning import CatalogLibrary, current_revision
from control_plane.provisioning.access import Role, register_token
from control_plane.publishing.notices import ChangeNotices
from control_plane.settings import Settings
from control_plane.storage.database import Database
from control_plane.storage.lock import locked_database
from weighbridge.rules.errors import FailedPreconditionError, NotFoundError, UnavailableError
from weighbridge.runtime.clock import wall_ms
from weighbridge.runtime.logs import get_logger
from weighbridge.runtime.probes import ProbeServer
from weighbridge.runtime.tokens import new_token, read_secret_file, write_secret_file

READY_TIMEOUT_S: Final = 2.0
FROM_FILE: Final = "file"

_log = get_logger("control_plane")


class ControlPlane:
    """One running control plane. `start` and `stop` belong to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._metrics = ControlPlaneMetrics(self._registry)
        self._database = Database(settings.effective_database_url, self._metrics.observe_database)
        self._library = CatalogLibrary()
        self._notices = ChangeNotices()
        admin = AdminService(self._database, self._library, self._notices, wall_ms)
        self._server = ApiServer(
            settings.listen_address, self._database, self._metrics.observe_call, admin
        )
        probes = settings.probe_address
        self._probes = ProbeServer(probes.host, probes.port, self._problems, self._registry)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state = "starting"

    async def start(self) -> None:
        """Migrate, register the tokens, and listen. Raises WeighbridgeError saying why not."""
        self._loop = asyncio.get_running_loop()
        self._probes.start()
        await asyncio.to_thread(self._database.migrate)
        await self._register_tokens()
        await self._server.start()
        self._state = ""
        _log.info(
            "control plane listens",
            address=self._server.address,
            probes=f"{self._probes.host}:{self._probes.port}",
            data_dir=str(self._settings.data_dir),
        )

    async def stop(self) -> None:
        """Take no new calls, answer the open ones, and close. Also after a start that failed."""
        self._state = "stopping"
        await self._server.stop(self._settings.stop_grace_s)
        await asyncio.to_thread(self._probes.stop)
        await asyncio.to_thread(self._database.close)

    async def _register_tokens(self) -> None:
        settings = self._settings
        admin = token_from_file(settings.admin_token_path)
        sync = token_from_file(settings.sync_token_path)
        if admin == sync:
            raise FailedPreconditionError(
                f"{settings.admin_token_path} and {settings.sync_token_path} hold the same token; "
                "administrators and sidecars need one each"
            )

        def register(connection: Connection) -> None:
            register_token(connection, Role.ADMIN, FROM_FILE, admin, wall_ms())
            register_token(connection, Role.SYNC, FROM_FILE, sync, wall_ms())

        await self._database.write(register)

    def _problems(self) -> list[str]:
        """Say what is in the way of serving. Called by the probes, on a thread of theirs."""
        if self._state or self._loop is None:
            return [self._state]
        # Through the loop, so that a loop that hangs is not ready either.
        asked = asyncio.run_coroutine_threadsafe(self._database.read(current_revision), self._loop)
        try:
            asked.result(READY_TIMEOUT_S)
        except UnavailableError as error:
            return [str(error)]
        except FutureTimeoutError:
            asked.cancel()
            return [f"the database did not answer within {READY_TIMEOUT_S:g} s"]
        return []


def token_from_file(path: Path) -> str:
    """Return the token in a file; where there is no file, make both. Never logs the token."""
    try:
        token = read_secret_file(path)
    except NotFoundError:
        token = new_token()
        write_secret_file(path, token)
        _log.info("token file written", path=str(path))
    else:
        _log.info("token file read", path=str(path))
    return token


async def run(settings: Settings) -> None:
    """Run a control plane until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    _make_directory(settings.data_dir)
    with locked_database(settings.effective_database_url):
        running = ControlPlane(settings)
        try:
            await running.start()
            await stopping.wait()
            _log.info("control plane stops")
        finally:
            await running.stop()
    _log.info("control plane stopped")


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FailedPreconditionError(
            f"cannot make the data directory {path}: {error.strerror or error}"
        ) from error
