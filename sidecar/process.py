"""Puts the sidecar together, runs it and stops it."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
from collections.abc import Callable, Sequence
from importlib.metadata import version
from random import SystemRandom
from typing import Final

from sidecar.core.asking import LeaseAsking
from sidecar.core.book import UsageBook
from sidecar.core.clock import ControlPlaneClock
from sidecar.core.epochs import EpochId, EpochIndexes
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyTable
from sidecar.core.leases import Lack
from sidecar.core.link import Link
from sidecar.core.moment import Moment
from sidecar.core.snapshots import SnapshotCache
from sidecar.journal import DataDirectory, Journal, JournalSettings
from sidecar.metrics.collector import Sources
from sidecar.probing import Probes
from sidecar.replaying import replay_journal
from sidecar.service.entitlements import EntitlementsService
from sidecar.service.metering import MeterService
from sidecar.service.quoting import QuotingService
from sidecar.service.shadowing import ShadowService
from sidecar.service.watching import Watchers
from sidecar.settings import Settings
from sidecar.snapshot_store import SnapshotStore
from sidecar.transport.reference import ReferenceTransport
from sidecar.transport.seam import Seam
from sidecar.transport.server import ApiServer
from sidecar.transport.waiting import WaitingCalls
from sidecar.uplink.applying import Applier
from sidecar.uplink.keeping import SnapshotKeeper
from sidecar.uplink.leasing import LeaseTalk
from sidecar.uplink.sending import UsageSending
from sidecar.uplink.session import Session
from sidecar.uplink.stream import Uplink, UplinkSettings
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime import clock as machine
from weighbridge.runtime.logs import get_logger

TICK_S: Final = 0.05
USAGE_INTERVAL_S: Final = 0.05
TRANSPORT: Final = "reference"
DRAIN_POLL_S: Final = 0.02
RETURN_TIMEOUT_S: Final = 1.0
TOTALS_DELAY_MS_MAX: Final = 60_000
PRUNE_INTERVAL_MS: Final = 60_000
RECOVER_INTERVAL_MS: Final = 1_000
TIDY_INTERVAL_MS: Final = 1_000


class Sidecar:
    """One running sidecar. `start` and `stop` belong to one event loop."""

    def __init__(self, settings: Settings, directory: DataDirectory) -> None:
        self._settings = settings
        self._directory = directory
        self._log = get_logger("sidecar")
        boot_ms = machine.boot_ms()
        self._store = SnapshotStore(directory, machine.wall_ms())
        self._clock = ControlPlaneClock(boot_ms, machine.wall_ms())
        self._journal = Journal.open(
            directory,
            JournalSettings(
                bytes_max=settings.journal_bytes_max,
                fsync_interval_ms=settings.fsync_interval_ms,
                keep_answers_ms=settings.idempotency_keep_s * 1000,
            ),
            boot_id=machine.boot_id(),
            now_ms=machine.wall_ms(),
        )
        self.gate = Gate(
            SnapshotCache(settings.mode, settings.customers_max, frozenset(settings.customers)),
            UsageBook(),
            KeyTable(settings.idempotency_keys_max, settings.idempotency_keep_s * 1000),
            Link(boot_ms, settings.outage_after_ms),
            admit_unloaded=settings.admit_unloaded,
            hold_share_percent_max=settings.hold_share_percent_max,
        )
        self._applier = Applier(self.gate, EpochIndexes(self._known_epochs))
        self._keeper = SnapshotKeeper(self._store, self._applier, self.gate, self._clock)
        self._sending = UsageSending(self._journal, self.gate.book)
        self._asking = LeaseAsking(self.gate.leases)
        self._session = Session(
            self.gate,
            self._journal,
            self._applier,
            self._sending,
            LeaseTalk(self.gate.leases, self._asking, self._journal),
            self._clock,
        )
        self._watchers = Watchers()
        self._seam = Seam(self.gate, self._journal, self._moment)
        self._waiting = WaitingCalls(
            self._seam,
            self.gate,
            load_timeout_ms=settings.load_timeout_ms,
            waiters_max=settings.waiters_max,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._pruned_at_ms = 0
        self._recover_at_ms = 0
        self._tidied_ms = 0
        self._has_frozen = False
        self._connect_parts()

    def _connect_parts(self) -> None:
        self.gate.on_changed = self._watchers.changed
        self.gate.on_catalog_changed = lambda _catalog: self._watchers.all_changed()
        self._applier.drafts.now_ms = lambda: self._moment().now_ms
        self.gate.on_refresh_wanted = self._session.want
        self._applier.on_loaded = self._waiting.loaded
        self._waiting.on_load_wanted = self._session.want
        self._session.waited_for = self._waiting.customers
        self._session.on_welcome = self._waiting.ask_again
        self._waiting.on_lease_wanted = self._want_leases
        self._waiting.on_share_wanted = lambda lacks: self._session.want_shares(
            lacks, machine.boot_ms()
        )
        self._asking.on_answered = self._waiting.leased
        self._session.rate_talk.on_given = self._waiting.leased
        self._seam.on_recorded = self._recorded
        self._session.on_start_over = lambda: self._log.warning(
            "the control plane was put back to an earlier state; all snapshots are taken anew"
        )
        self._session.on_set_aside = lambda aside: self._log.error(
            "usage set aside by the control plane",
            epoch=aside.mark.epoch,
            number=aside.mark.number,
            detail=aside.detail,
        )

    def _recorded(self) -> None:
        self._session.usage_written()
        if self.gate.leases.low:
            self._session.on_outgoing()

    def _want_leases(self, lacks: Sequence[Lack]) -> None:
        self._asking.want(lacks)
        self._session.on_outgoing()

    def _moment(self) -> Moment:
        boot_ms = machine.boot_ms()
        return Moment(self._clock.now_ms(boot_ms), boot_ms)

    async def start(self) -> None:
        """Restore, listen, and look for the control plane."""
        self._restore()
        settings = self._settings
        transport = ReferenceTransport(self._seam, self._waiting, settings.calls_max)
        loading = (self.gate, self._watchers, self._moment, self._session.want)
        service = EntitlementsService(*loading, settings.load_timeout_ms)
        quoting = QuotingService(*loading, settings.load_timeout_ms)
        shadow = ShadowService(self.gate)
        self._meters = MeterService(self.gate, self._seam, transport.ask, self._moment)
        handlers = transport.handlers()
        for each in (service, quoting, shadow, self._meters):
            handlers.update(each.handlers())
        self._server = ApiServer(handlers, settings.listen, settings.socket_path)
        self._probes = self._make_probes(transport)
        await self._server.start()
        await self._probes.start()
        self._uplink = Uplink(
            UplinkSettings(
                address=settings.control_plane,
                token_path=settings.token_path,
                software_version=version("weighbridge"),
                boot_id=machine.boot_id(),
                backoff_ms_min=settings.backoff_ms_min,
                backoff_ms_max=settings.backoff_ms_max,
            ),
            self._session,
            self._moment,
            self._renew_identity,
            SystemRandom(),
        )
        self._tasks = [
            asyncio.create_task(work)
            for work in (
                self._uplink.run(),
                self._keeper.run(),
                self._tick(),
                self._pace_usage(),
            )
        ]
        self._write_addresses()
        self._log.info(
            "sidecar listens",
            address=self._server.address,
            socket=str(settings.socket_path),
            probes=self._probes.addresses["probe_listen"],
            transport=TRANSPORT,
            sidecar_id=self._journal.sidecar_id,
        )

    async def wait_broken(self) -> None:
        """Return only where a part of the sidecar failed for good, by raising why."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Answer open calls, hand over usage, save, and close."""
        grace_s = self._settings.stop_grace_s
        self._log.info("sidecar stops", unsettled_records=self._journal.unsettled_records)
        await self._server.stop(grace_s / 2)
        self._meters.settle_all()
        await self._wait_while(lambda: self._journal.unsettled_records, grace_s / 2)
        # What nobody will spend here, others have at once.
        self.gate.give_back_all(machine.boot_ms())
        self._session.on_outgoing()
        await self._wait_while(self.gate.has_returns, RETURN_TIMEOUT_S)
        await asyncio.sleep(DRAIN_POLL_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._keeper.save()
        self._keeper.close()
        await self._probes.stop()
        self._store.close()
        unsettled = self._journal.unsettled_records
        self._journal.close()
        self._log.info("sidecar stopped", unsettled_records=unsettled)

    async def _wait_while(self, has_work: Callable[[], object], timeout_s: float) -> None:
        """Wait until the control plane has been told everything, if it is there."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while has_work() and self._session.is_welcome:
            if asyncio.get_running_loop().time() >= deadline_s:
                return
            await asyncio.sleep(DRAIN_POLL_S)

    def _restore(self) -> None:
        boot_ms, wall_ms = machine.boot_ms(), machine.wall_ms()
        self._clock.assume(boot_ms, wall_ms, self._keeper.skew_ms())
        now_ms = self._clock.now_ms(boot_ms)
        keys_since_ms = now_ms - self._settings.idempotency_keep_s * 1000
        confirmed_ms = self._keeper.confirmed_at_ms()
        # Totals on disk include what was settled well before they were last confirmed.
        usage_since_ms = 0 if confirmed_ms is None else confirmed_ms - TOTALS_DELAY_MS_MAX
        records = replay_journal(self._journal, self.gate, keys_since_ms, usage_since_ms)
        restored = self._keeper.restore()
        if restored.confirmed_at_ms is not None:
            self.gate.link.confirmed(boot_ms - max(now_ms - restored.confirmed_at_ms, 0))
        self._log.info(
            "restored from disk",
            records=records,
            snapshots=restored.items,
            snapshots_failed=restored.failed,
            problems=[problem.detail for problem in self._journal.problems],
        )

    def _make_probes(self, transport: ReferenceTransport) -> Probes:
        sources = Sources(
            self.gate,
            self._seam,
            self._waiting,
            self._asking,
            self._watchers,
            self._journal,
            self._applier,
            self._sending,
            self._session,
            transport.latencies,
            {"version": version("weighbridge"), "transport": TRANSPORT},
            self._moment,
        )
        return Probes(self._settings, sources, self._problems)

    def _problems(self) -> list[str]:
        problems = []
        if not self.gate.cache.is_complete:
            problems.append("no snapshot has been applied yet; is the control plane reachable?")
        if self._journal.failure:
            problems.append(f"usage is refused: {self._journal.failure}")
        return problems

    async def _pace_usage(self) -> None:
        while True:
            await asyncio.sleep(USAGE_INTERVAL_S)
            self._session.usage_due()

    def _freeze_first_snapshot(self) -> None:
        """Once all customers are here, keep the garbage collector from looking at them again.

        A full collection stops every answer for as long as it takes to walk over them.
        """
        if self.gate.cache.is_complete and not self._has_frozen:
            self._has_frozen = True
            gc.collect()
            gc.freeze()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            moment = self._moment()
            self._freeze_first_snapshot()
            self._waiting.tick(moment)
            self._tidy_leases(moment)
            self._meters.tick()
            self._seam.keep_holds()
            self._look_after_journal(moment.now_ms)
            is_ready = not self._problems()
            await self._server.set_serving(is_serving=is_ready)
            await self._probes.set_ready(is_ready=is_ready)
            evicted = self.gate.cache.evict(self._is_pinned)
            if evicted:
                self._session.release(evicted)
                await self._keeper.forget(evicted)
                for customer in evicted:
                    if self._is_gone(customer):
                        self.gate.forget(customer, moment.boot_ms)
                        if self.gate.shadow is not None:
                            self.gate.shadow.forget(customer)

    def _tidy_leases(self, moment: Moment) -> None:
        if moment.boot_ms - self._tidied_ms >= TIDY_INTERVAL_MS:
            self._tidied_ms = moment.boot_ms
            self.gate.tidy(moment)
        if self.gate.leases.low or self.gate.has_returns():
            self._session.on_outgoing()

    def _look_after_journal(self, now_ms: int) -> None:
        if now_ms - self._pruned_at_ms >= PRUNE_INTERVAL_MS:
            self._pruned_at_ms = now_ms
            self._journal.prune(now_ms)
            self.gate.keys.expire(now_ms)
        if self._journal.failure and now_ms >= self._recover_at_ms:
            self._recover_at_ms = now_ms + RECOVER_INTERVAL_MS
            try:
                self._journal.recover(now_ms)
            except UnavailableError as error:
                self._log.warning("the journal is still not usable", error=str(error))

    def _known_epochs(self) -> list[tuple[EpochId, int]]:
        return [(EpochId(e.sidecar_id, e.epoch), e.epoch_index) for e in self._journal.epochs()]

    def _is_pinned(self, customer: str) -> bool:
        return (
            self._watchers.is_watched(customer)
            or self.gate.book.has_own(customer)
            or self.gate.reservations.has_any(customer)
        )

    def _is_gone(self, customer: str) -> bool:
        """Whether nothing is known of a customer, and nothing of its usage is kept for others."""
        cache = self.gate.cache
        is_known = cache.find(customer) is not None or cache.is_absent(customer)
        return not is_known and not self.gate.book.has_own(customer)

    def _renew_identity(self) -> None:
        self._journal.renew_identity(self._moment().now_ms)

    def _write_addresses(self) -> None:
        """Say where this sidecar listens: ports may have been chosen by the system."""
        addresses = {
            "listen": self._server.address,
            "socket": str(self._settings.socket_path.absolute()),
            **self._probes.addresses,
        }
        path = self._settings.data_dir / "addresses.json"
        path.write_text(json.dumps(addresses) + "\n", encoding="utf-8")


async def run(settings: Settings) -> None:
    """Run a sidecar until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with DataDirectory(settings.data_dir, machine.wall_ms()) as directory:
        running = Sidecar(settings, directory)
        await running.start()
        broken = asyncio.create_task(running.wait_broken())
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((broken, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            is_broken = broken.done()
            broken.cancel()
            await running.stop()
        if is_broken:
            broken.result()
