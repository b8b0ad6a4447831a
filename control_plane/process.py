"""Puts the control plane together, runs it and stops it."""

from __future__ import annotations

import asyncio
import secrets
import signal
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from random import SystemRandom
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from sqlalchemy import Connection

from control_plane.api.admin_service import AdminService
from control_plane.api.billing_service import BillingService
from control_plane.api.credit_service import CreditService
from control_plane.api.http.opening import Served, open_http
from control_plane.api.integration_service import IntegrationService
from control_plane.api.metrics import ControlPlaneMetrics
from control_plane.api.server import ApiServer, Services
from control_plane.api.sync_service import Intake, StreamTimes, SyncService
from control_plane.api.usage_service import UsageService
from control_plane.api.webhook_service import WebhookService
from control_plane.crediting.upkeep import LedgerUpkeep
from control_plane.exporters.config import ExportsConfig, read_exports
from control_plane.exporters.exporting import Exporting
from control_plane.granting.desk import LeaseDesk
from control_plane.granting.granter import Granter
from control_plane.granting.rate_desk import RateDesk
from control_plane.granting.rate_serving import RateService
from control_plane.granting.serving import LeaseService
from control_plane.granting.watch import LeaseWatch
from control_plane.granting.work import LeasesPosted
from control_plane.importers.config import ImportsConfig, read_imports
from control_plane.importers.events import prune_events
from control_plane.importers.importing import Importing
from control_plane.leasing.accounts import Gain
from control_plane.leasing.holding import LeaseTerms
from control_plane.leasing.retention import prune_leases
from control_plane.metering.epochs import has_epochs
from control_plane.metering.ingest import Settlement
from control_plane.metering.priced_units import prune_priced_units
from control_plane.metering.queue import IngestQueue
from control_plane.metering.reporting import Reporter
from control_plane.metering.retention import prune
from control_plane.metering.threshold_watch import ThresholdWatch
from control_plane.metering.thresholds import prune_thresholds
from control_plane.metering.totals import count_overdrawn
from control_plane.notifying.deliveries import prune_messages
from control_plane.outgoing.sending import Outgoing
from control_plane.provisioning import CatalogLibrary, current_revision
from control_plane.provisioning.access import Role, register_token
from control_plane.publishing.notices import ChangeNotices
from control_plane.publishing.publisher import Publisher
from control_plane.publishing.sessions import SessionRegistry
from control_plane.settings import Settings
from control_plane.storage.database import Database
from control_plane.storage.lock import locked_database
from weighbridge.rules.errors import FailedPreconditionError, NotFoundError, UnavailableError
from weighbridge.rules.lease import credit_pool
from weighbridge.runtime.clock import boot_ms, wall_ms
from weighbridge.runtime.logs import get_logger
from weighbridge.runtime.probes import ProbeServer
from weighbridge.runtime.tokens import new_token, read_secret_file, write_secret_file

READY_TIMEOUT_S: Final = 2.0
PRUNE_INTERVAL_S: Final = 600.0
PRUNE_PAUSE_S: Final = 0.05
FROM_FILE: Final = "file"

_log = get_logger("control_plane")


class ControlPlane:
    """One running control plane. All of it belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._state = "starting"
        self._tasks: list[asyncio.Task[None]] = []
        metrics = self._metrics = self._make_metrics()
        library = CatalogLibrary()
        database = self._database = Database(
            settings.effective_database_url, metrics.observe_database, is_exclusive=True
        )
        notices, self._sidecars = ChangeNotices(), SessionRegistry()
        self._publisher = Publisher(database, library, notices, self._sidecars, wall_ms)
        self._queue = IngestQueue(database, library, wall_ms, SystemRandom())
        self._make_leases(settings)
        self._exporting = _exporting(settings, database)
        self._importing = _importing(settings, database, library)
        self._sync = SyncService(
            database,
            library,
            self._publisher,
            Intake(self._queue, self._leases, self._rates),
            wall_ms,
            StreamTimes(settings.heartbeat_interval_ms, settings.lease_ttl_ms),
        )
        credits_ = CreditService(database, library, wall_ms)
        credits_.on_filled = lambda ledger, available: self._leases.gained(
            [Gain(credit_pool(*ledger), available)]
        )
        self._outgoing = Outgoing(settings, database, wall_ms, SystemRandom())
        self._thresholds = ThresholdWatch(database, library, wall_ms)
        reporter = Reporter(self._queue, lambda: secrets.token_hex(8))
        services = Services(
            AdminService(database, library, notices, self._sidecars, wall_ms),
            credits_,
            BillingService(database, library, wall_ms),
            IntegrationService(database, self._exporting, self._importing, wall_ms),
            UsageService(database, reporter),
            self._sync,
            WebhookService(database, wall_ms),
        )
        self._server = ApiServer(settings.listen_address, database, metrics.observe_call, services)
        served = Served(
            database,
            services.by_name(),
            reporter,
            wall_ms,
            metrics.observe_http,
            self._importing,
        )
        self._http = open_http(settings.http_address, served)
        self._ledgers = LedgerUpkeep(database, library, wall_ms)
        notices.listen(lambda _notice: self._ledgers.wake())
        self._connect_metrics(notices)

    def _make_leases(self, settings: Settings) -> None:
        terms = LeaseTerms(settings.lease_ttl_ms, settings.lease_lost_after_ms)
        desk = self._desk = LeaseDesk(settings.lease_recall_ms)
        granter = Granter(SystemRandom(), terms)
        self._leases = LeaseService(desk, granter, self._queue, boot_ms)
        self._rates = RateService(RateDesk(settings.lease_ttl_ms), boot_ms)
        self._lease_watch = LeaseWatch(self._database, settings.lease_check_interval_s)

    def _make_metrics(self) -> ControlPlaneMetrics:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        probes = self._settings.probe_address
        self._probes = ProbeServer(probes.host, probes.port, self._problems, registry)
        return ControlPlaneMetrics(registry)

    def _connect_metrics(self, notices: ChangeNotices) -> None:
        metrics = self._metrics

        def settled(settlement: Settlement) -> None:
            metrics.count_settlement(settlement)
            if settlement.customers_created:
                notices.publish(customers=settlement.customers_created)
            self._publisher.usage_settled()
            self._thresholds.wake()

        def posted(leases: LeasesPosted) -> None:
            metrics.leases.count(self._desk, leases)
            if leases.customers_created:
                metrics.customers_unprovisioned.inc(len(leases.customers_created))
                notices.publish(customers=leases.customers_created)

        self._queue.on_settled = settled
        self._sync.on_nack = metrics.nacks.inc
        self._sync.on_delivered = metrics.count_snapshot
        metrics.count_sidecars(self._sidecars.__len__)
        rates = self._rates.desk
        metrics.count_rates(rates.__len__, lambda: rates.shares)
        self._leases.on_posted = posted
        self._lease_watch.on_checked = metrics.leases.observe
        metrics.count_broken_ledgers(lambda: len(self._ledgers.broken))
        self._ledgers.on_checked = metrics.ledgers_checked.inc
        metrics.outgoing.connect(self._outgoing)
        self._thresholds.on_reached = metrics.outgoing.thresholds_reached.inc
        self._probes.details = self._details
        self._importing.on_taken = metrics.count_import
        self._importing.on_changed = lambda customer: notices.publish(customers=[customer])
        self._exporting.on_ran = lambda name, ran: metrics.count_export(name, ran.sent, ran.failed)

    async def start(self) -> None:
        """Migrate, register the tokens, and listen. Raises WeighbridgeError saying why not."""
        self._probes.start()
        await asyncio.to_thread(self._database.migrate)
        if await self._database.read(has_epochs):
            self._rates.fence()
        await self._register_tokens()
        await self._publisher.start()
        await self._exporting.open()
        await self._outgoing.open()
        self._metrics.allocations_overdrawn.set(await self._database.read(count_overdrawn))
        self._tasks = [
            asyncio.create_task(work)
            for work in (
                self._publisher.run(),
                self._queue.run(),
                self._leases.run(),
                self._rates.run(),
                self._lease_watch.run(),
                self._ledgers.run(),
                self._outgoing.run(),
                self._thresholds.run(),
                self._exporting.run(),
                self._prune(),
            )
        ]
        await self._server.start()
        if self._http is not None:
            await self._http.start()
        self._state = ""
        _log.info(
            "control plane listens",
            address=self._server.address,
            probes=f"{self._probes.host}:{self._probes.port}",
            http="" if self._http is None else self._http.address,
            data_dir=str(self._settings.data_dir),
        )

    async def wait_broken(self) -> None:
        """Return only where a part failed for good, by raising why."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Take no new calls, answer the open ones, and close. Also after a start that failed."""
        self._state = "stopping"
        if self._http is not None:
            await self._http.stop(self._settings.stop_grace_s)
        await self._server.stop(self._settings.stop_grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._publisher.close()
        await self._outgoing.close()
        self._exporting.close()
        await asyncio.to_thread(self._probes.stop)
        await asyncio.to_thread(self._database.close)

    async def _prune(self) -> None:
        while True:
            is_last = await self._prune_page()
            # Paused between pages too, so that settling usage never waits for all of them.
            await asyncio.sleep(PRUNE_INTERVAL_S if is_last else PRUNE_PAUSE_S)

    async def _prune_page(self) -> bool:
        try:
            return not await self._database.write(_prune)
        except UnavailableError as error:
            _log.warning("old keys and digests not removed; tried again later", error=str(error))
            return True

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

    def _details(self) -> list[str]:
        """Say what is not in the way of serving, but not right."""
        return [*self._ledgers.details(), *self._lease_watch.remarks()]

    def _problems(self) -> list[str]:
        """Say what is in the way of serving. Called by the probes, on a thread of theirs."""
        if self._state:
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


def _exporting(settings: Settings, database: Database) -> Exporting:
    config = ExportsConfig()
    if settings.exports_file is not None:
        config = read_exports(settings.exports_file)
    return Exporting(config, database, secrets.token_hex(8), wall_ms)


def _importing(settings: Settings, database: Database, library: CatalogLibrary) -> Importing:
    config = ImportsConfig()
    if settings.imports_file is not None:
        config = read_imports(settings.imports_file)
    return Importing(config, database, library, wall_ms)


def _prune(connection: Connection) -> int:
    now_ms = wall_ms()
    return (
        prune(connection, now_ms)
        + prune_priced_units(connection, now_ms)
        + prune_leases(connection, now_ms)
        + prune_events(connection, now_ms)
        + prune_messages(connection, now_ms)
        + prune_thresholds(connection, now_ms)
    )


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
    """Run a control plane until SIGTERM or SIGINT. Raises what it failed for."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    _make_directory(settings.data_dir)
    with locked_database(settings.effective_database_url):
        running = ControlPlane(settings)
        try:
            await running.start()
            await _until_stopped(running, stopping)
            _log.info("control plane stops")
        finally:
            await running.stop()
    _log.info("control plane stopped")


async def _until_stopped(running: ControlPlane, stopping: asyncio.Event) -> None:
    broken = asyncio.create_task(running.wait_broken())
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((broken, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if broken.done():
        broken.result()
    broken.cancel()


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FailedPreconditionError(
            f"cannot make the data directory {path}: {error.strerror or error}"
        ) from error
