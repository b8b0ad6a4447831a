"""Keeps on disk what was applied, off the owner thread, and restores it at the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from sidecar.core.clock import ControlPlaneClock
from sidecar.core.gate import Gate
from sidecar.core.snapshots import Mode
from sidecar.snapshot_store import SnapshotStore
from sidecar.uplink.applying import ABSENT, CUSTOMER, KINDS, TOTALS, Applier, Saved
from weighbridge.rules.errors import UnavailableError
from weighbridge.runtime.clock import boot_ms, wall_ms
from weighbridge.runtime.logs import get_logger

SAVE_INTERVAL_S: Final = 0.5

_OTHER: Final = {CUSTOMER: ABSENT, ABSENT: CUSTOMER}

_REVISION: Final = "revision"
_USAGE_REVISION: Final = "usage_revision"
_COMPLETE: Final = "complete"
_CONFIRMED_AT_MS: Final = "confirmed_at_ms"
_SKEW_MS: Final = "skew_ms"
_SUBSCRIBED: Final = "subscribed"
_INCARNATION: Final = "incarnation"
_SEEN_REVISION: Final = "seen_revision"
_SEEN_USAGE_REVISION: Final = "seen_usage_revision"
# True of every row, for whichever customers they were kept.
_OF_ALL: Final = (_SKEW_MS, _INCARNATION, _SEEN_REVISION, _SEEN_USAGE_REVISION)


class Restored(NamedTuple):
    """What was found on disk: how many snapshots, and when they were last confirmed."""

    items: int
    failed: int
    confirmed_at_ms: int | None


class SnapshotKeeper:
    """Writes what the applier gathered, in batches, from one thread of its own."""

    def __init__(
        self, store: SnapshotStore, applier: Applier, gate: Gate, clock: ControlPlaneClock
    ) -> None:
        self._store = store
        self._applier = applier
        self._gate = gate
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "snapshot-keeper")
        self._log = get_logger("snapshots")

    def restore(self) -> Restored:
        """Apply what is on disk. What cannot be applied is reported and left out."""
        meta = self._store.meta()
        if meta.get(_SUBSCRIBED) not in (None, self._subscribed()):
            # Held for another set of customers: what it says is complete is not complete for this.
            meta = {name: text for name, text in meta.items() if name in _OF_ALL}
        items = list(self._load())
        failed = self._applier.restore(items)
        for item, problem in failed:
            self._log.error(
                "snapshot on disk not applied", kind=item.kind, id=item.id, problem=problem
            )
        self._applier.progress.reached(
            int(meta.get(_REVISION, 0)), int(meta.get(_USAGE_REVISION, 0))
        )
        if failed:
            # Something is missing: have everything sent again.
            self._applier.progress.revision = 0
            self._applier.progress.usage_revision = 0
        progress = self._applier.progress
        progress.incarnation = meta.get(_INCARNATION, "")
        progress.saw(int(meta.get(_SEEN_REVISION, 0)), int(meta.get(_SEEN_USAGE_REVISION, 0)))
        if items and not progress.incarnation:
            # Nothing tells of which history the versions are.
            self._gate.cache.outdate()
        self._gate.cache.is_complete = _COMPLETE in meta and not failed
        confirmed = meta.get(_CONFIRMED_AT_MS)
        return Restored(len(items), len(failed), None if confirmed is None else int(confirmed))

    def confirmed_at_ms(self) -> int | None:
        """Return when what is on disk was last confirmed, on the control plane's clock."""
        confirmed = self._store.meta().get(_CONFIRMED_AT_MS)
        return None if confirmed is None else int(confirmed)

    def skew_ms(self) -> int:
        """Return how far the control plane was ahead of this machine's clock when last saved."""
        return int(self._store.meta().get(_SKEW_MS, 0))

    async def run(self) -> None:
        """Save again and again until cancelled."""
        while True:
            await asyncio.sleep(SAVE_INTERVAL_S)
            await self.save()

    async def save(self) -> None:
        """Write everything gathered so far."""
        applier = self._applier
        unsaved, applier.unsaved = applier.unsaved, {}
        is_anew, applier.is_disk_outdated = applier.is_disk_outdated, False
        meta = self._meta()
        try:
            put = list(unsaved.values())
            # A customer is there or known not to be: the other row goes.
            remove = [(_OTHER[item.kind], item.id) for item in put if item.kind in _OTHER]
            await self._in_thread(lambda: self._store.save(put, remove, meta, is_anew=is_anew))
        except asyncio.CancelledError:
            self._take_back(unsaved, is_disk_outdated=is_anew)
            raise
        except UnavailableError as error:
            # The disk is full or gone. Nothing is lost but a fresh start's head start: what is
            # newer stays, and it is tried again.
            self._log.warning("snapshots not saved", error=str(error))
            self._take_back(unsaved, is_disk_outdated=is_anew)

    def _take_back(self, unsaved: dict[tuple[str, str], Saved], *, is_disk_outdated: bool) -> None:
        """Have what could not be saved saved later, unless all of it is outdated by now."""
        applier = self._applier
        if not applier.is_disk_outdated:
            applier.unsaved = {**unsaved, **applier.unsaved}
            applier.is_disk_outdated = is_disk_outdated

    async def forget(self, customers: list[str]) -> None:
        """Drop customers that are no longer held."""
        ids = [(kind, customer) for customer in customers for kind in (CUSTOMER, ABSENT)]
        for customer in customers:
            for resource, feature in self._gate.book.features(customer):
                ids.append((TOTALS, f"{customer}\n{resource}\n{feature}"))
        for key in ids:
            self._applier.unsaved.pop(key, None)
        try:
            await self._in_thread(lambda: self._store.save(remove=ids))
        except UnavailableError as error:
            # They come back as stale customers at the next start, and are brought up to date then.
            self._log.warning("snapshots not removed", error=str(error))

    def close(self) -> None:
        """Wait for what is being written."""
        self._thread.shutdown()

    def _load(self) -> Iterator[Saved]:
        for row in self._store.load_all():
            if row.kind in KINDS:
                yield Saved(row.kind, row.id, row.version, row.payload)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _meta(self) -> dict[str, str]:
        boot = boot_ms()
        progress = self._applier.progress
        meta = {
            _REVISION: str(progress.revision),
            _USAGE_REVISION: str(progress.usage_revision),
            _INCARNATION: progress.incarnation,
            _SEEN_REVISION: str(progress.seen_revision),
            _SEEN_USAGE_REVISION: str(progress.seen_usage_revision),
            _SUBSCRIBED: self._subscribed(),
            _SKEW_MS: str(self._clock.skew_ms(boot, wall_ms())),
        }
        if self._gate.cache.is_complete and not self._gate.cache.is_outdated:
            meta[_COMPLETE] = "yes"
        age_ms = self._gate.link.snapshot_age_ms(boot)
        if age_ms is not None:
            meta[_CONFIRMED_AT_MS] = str(self._clock.now_ms(boot) - age_ms)
        return meta

    def _subscribed(self) -> str:
        cache = self._gate.cache
        mode: str = cache.mode.value
        return ",".join([mode, *sorted(cache.listed)]) if cache.mode is Mode.LISTED else mode
