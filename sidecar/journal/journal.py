"""The journal: what the sidecar acknowledges is on its disk first."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple, NoReturn, Self, TypeVar

from sidecar.journal import database
from sidecar.journal.directory import DataDirectory
from sidecar.journal.durable import DurableMark
from sidecar.journal.epoch import EpochView
from sidecar.journal.loading import load
from sidecar.journal.problems import LOSING, Problem, ProblemKind
from sidecar.journal.reading import position_of, read_kept, read_one, read_unsettled
from sidecar.journal.record import Position, StoredRecord, record_checksum
from sidecar.journal.restoring import restore
from sidecar.journal.settings import JournalSettings
from sidecar.journal.starting import PreviousRun, begin_epoch, drop_empty_epochs, previous_run
from sidecar.journal.state import JournalState
from sidecar.journal.upkeep import Upkeep
from weighbridge.rules.errors import NotFoundError, ResourceExhaustedError, UnavailableError

RECORD_OVERHEAD_BYTES: Final = 64
"""What a record takes beside its payload and digest, about."""

# A clock set back a little does not reorder records; one set back by more was wrong before.
_CLOCK_STEP_MS_MAX: Final = 3_600_000

Read = TypeVar("Read")


class _Opened(NamedTuple):
    connection: sqlite3.Connection
    durable: DurableMark
    state: JournalState
    upkeep: Upkeep
    previous: PreviousRun


class Journal:
    """Records of opaque bytes, numbered from 1 without gaps in each epoch.

    One thread, the owner, calls everything here, except the properties that tell figures. Syncing,
    checkpoints, marks and pruning run on a thread of the journal's own.

    **Kill.** `append` returns when the record is in the operating system's hands, so a `kill -9`
    loses nothing that was appended. **Power loss** loses at most what was appended in the last
    `fsync_interval_ms`; with 0, nothing. What is lost is an end of the journal, never its middle.

    **Failure.** Where a write fails, `append` raises UnavailableError, no number is taken, and
    `failure` says why; all further appends are refused until `recover` has read the end again.

    **Damage**, found at the start or by a later read, is set aside in files `corrupt-*` and
    reported in `problems`; what is sound is kept (see `salvage`). Where nothing of the database can
    be read, the identity stays, since it lies in a file of its own, and only the records are gone:
    usage that was not settled yet is then missing from the control plane's totals.
    """

    def __init__(
        self, directory: DataDirectory, settings: JournalSettings, boot_id: str, opened: _Opened
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._boot_id = boot_id
        self._bytes_max = settings.bytes_max
        self._log_bytes_max = settings.write_ahead_bytes_max
        self._connection = opened.connection
        self._durable = opened.durable
        self._previous = opened.previous
        self._state = opened.state
        self._upkeep = opened.upkeep
        found = directory.problems.counts
        self._has_damage = any(found[kind] for kind in LOSING)
        self._upkeep.start()

    @classmethod
    def open(
        cls, directory: DataDirectory, settings: JournalSettings, boot_id: str, now_ms: int
    ) -> Self:
        """Open the journal and begin an epoch, which is on disk before this returns.

        Raises UnavailableError where the disk fails, FailedPreconditionError where a later release
        wrote the files.
        """
        with _translating(directory), ExitStack() as undo:
            durable = DurableMark(directory.path)
            undo.callback(durable.close)
            loaded = load(directory, durable, settings.synchronous, now_ms)
            connection = loaded.connection
            undo.callback(connection.close)
            # The newest epoch is the predecessor, even if it wrote nothing and goes now.
            current = begin_epoch(connection, directory, loaded.epochs, boot_id, now_ms)
            kept = drop_empty_epochs(connection, loaded.epochs, now_ms)
            current.index = len(kept)
            state = JournalState([*kept, current], current)
            state.written_at_ms = loaded.written_at_ms
            state.bytes_used = database.used_bytes(connection)
            upkeep = Upkeep(directory, settings, state, durable)
            undo.pop_all()
        previous = previous_run(loaded.epochs)
        return cls(
            directory, settings, boot_id, _Opened(connection, durable, state, upkeep, previous)
        )

    # Identity

    @property
    def sidecar_id(self) -> str:
        """Under which id the current epoch's records go up."""
        return self._state.current.row.sidecar_id

    @property
    def epoch(self) -> str:
        """The epoch that runs."""
        return self._state.current.row.epoch

    @property
    def predecessor(self) -> str:
        """The epoch of this sidecar id before this one; "" for the first."""
        return self._state.current.row.predecessor

    @property
    def epoch_index(self) -> int:
        """The place of the current epoch among those kept at the start."""
        return self._state.current.index

    @property
    def previous_boot_id(self) -> str:
        """The machine's boot during the run before this one; "" where there was none."""
        return self._previous.boot_id

    @property
    def previous_stopped_cleanly(self) -> bool:
        """Whether the run before this one, if any, closed the journal cleanly."""
        return self._previous.stopped_cleanly

    @property
    def may_have_lost_records(self) -> bool:
        """Whether records may be missing that were appended in runs before this one.

        A machine that went down without a clean stop takes what was not synced; damage takes more.
        """
        previous = self._previous
        is_other_boot = previous.boot_id != self._boot_id
        return self._has_damage or (is_other_boot and not previous.stopped_cleanly)

    # Figures

    @property
    def next_number(self) -> int:
        """The number that the next append gets."""
        return self._state.current.last_number + 1

    @property
    def bytes_used(self) -> int:
        """Room taken on disk, the write-ahead log aside; exact to what one interval writes."""
        return self._state.bytes_used

    @property
    def unsettled_records(self) -> int:
        """Records the control plane has not settled."""
        return sum(epoch.unsettled for epoch in tuple(self._state.epochs))

    @property
    def failure(self) -> str:
        """Why nothing can be appended until `recover`; "" where all is well."""
        return self._state.failure

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The last distinct problems of the data directory since the start."""
        return self._directory.problems.last()

    def epochs(self) -> list[EpochView]:
        """Return the epochs of which records are kept, oldest first, and the current one."""
        return [epoch.view() for epoch in tuple(self._state.epochs)]

    def count_unsettled(self, up_to: Position) -> int:
        """Return how many records up to a position are not settled."""
        count = 0
        for epoch in tuple(self._state.epochs):
            if epoch.index > up_to[0]:
                break
            is_last = epoch.index == up_to[0]
            last = min(epoch.last_number, up_to[1]) if is_last else epoch.last_number
            count += max(0, last - epoch.settled_number)
        return count

    def has_room(self, payload_bytes: int) -> bool:
        """Whether a record of this size fits."""
        size = payload_bytes + RECORD_OVERHEAD_BYTES
        return self._state.bytes_used + size <= self._bytes_max

    # Writing

    def append(self, payload: bytes, digest: bytes, now_ms: int, set_aside_bytes: int = 0) -> int:
        """Write one record and return its number, which is `next_number`.

        It leaves so much room for others.

        Raises UnavailableError where it cannot be written, ResourceExhaustedError where there is no
        room.
        """
        state = self._state
        size = len(payload) + len(digest) + RECORD_OVERHEAD_BYTES
        with state.lock:
            if state.failure or state.bytes_used + size + set_aside_bytes > self._bytes_max:
                self._refuse()
            if state.log_bytes > self._log_bytes_max:
                self._refuse_while_disk_is_slow()
            current = state.current
            number = current.last_number + 1
            at_ms = state.written_at_ms
            if now_ms > at_ms or at_ms - now_ms > _CLOCK_STEP_MS_MAX:
                at_ms = now_ms
            checksum = record_checksum(current.seed, number, at_ms, digest, payload)
            row = (current.row.base + number, at_ms, checksum, digest, payload)
            try:
                self._connection.execute(database.INSERT_RECORD, row)
            except database.DATABASE_ERRORS as error:
                self._fail("written", error)
            current.last_number = number
            state.written_at_ms = at_ms
            state.bytes_used += size
            state.log_bytes += size + database.FRAME_BYTES
        return number

    def settle(self, sidecar_id: str, epoch: str, number: int, now_ms: int) -> None:
        """Note that exactly the records of an epoch up to a number are settled.

        A lower number than before (the control plane's database was restored) makes those above
        it unsettled again. An epoch not kept here is passed over. The upkeep thread puts it on
        disk; what a kill takes of it, the next stream to the control plane tells again.
        """
        with self._state.lock:
            for kept in self._state.epochs:
                if kept.row.epoch == epoch and kept.row.sidecar_id == sidecar_id:
                    kept.settle(number, now_ms)

    def renew_identity(self, now_ms: int) -> None:
        """Take a new sidecar id and begin an epoch under it; records written keep their own.

        Raises UnavailableError where the disk fails.
        """
        state = self._state
        with state.lock, _translating(self._directory):
            self._directory.renew_identity()
            try:
                current = begin_epoch(
                    self._connection, self._directory, state.epochs, self._boot_id, now_ms
                )
            except sqlite3.Error as error:
                # Whether the epoch is on disk only a re-read can tell.
                self._fail("written", error)
            state.epochs.append(current)
            state.current = current

    def prune(self, now_ms: int) -> None:
        """Have the upkeep thread delete what was settled longer ago than it is to be kept."""
        self._state.prune_now_ms = now_ms

    def flush(self) -> None:
        """Make everything durable and do all upkeep now. Blocks: for a stop, and for tests."""
        self._upkeep.run_round()

    def recover(self, now_ms: int) -> None:
        """Read the journal again after a failure, and take appends if it is sound and writable.

        Blocks for as long as reading what is unsettled takes. Raises UnavailableError where the
        failure lasts; call it again later then.
        """
        state = self._state
        if not state.failure:
            return
        self._upkeep.stop()
        self._connection.close()
        with _translating(self._directory):
            loaded = load(
                self._directory, self._durable, self._settings.synchronous, now_ms, state.damage
            )
            self._connection = loaded.connection
            state.damage = ""
            restore(self._directory, state, loaded)
            self._upkeep = Upkeep(self._directory, self._settings, state, self._durable)
        state.failure = ""
        self._upkeep.start()

    def close(self, *, clean: bool = True) -> None:
        """Stop. Clean: the next start learns that this run ended as it should."""
        state = self._state
        if not state.failure:
            self._upkeep.run_round()
        self._upkeep.stop()
        try:
            if clean and not state.failure:
                row = state.current.row._replace(stopped_cleanly=1)
                database.write_epoch(self._connection, row)
                database.empty_log(self._connection)
        except sqlite3.Error as error:
            self._directory.problems.report(ProblemKind.WRITE_FAILED, f"journal close: {error}")
        finally:
            state.fail("the journal is closed")
            self._connection.close()
            self._durable.close()

    # Reading

    def read_unsettled(
        self, after: Position, limit_records: int, limit_bytes: int
    ) -> list[StoredRecord]:
        """Return records to send: the first after a position that are not settled, in order.

        At least one where there is one, and of one epoch at a time. Numbers that have no record
        any more come as records that are lost.
        """
        return self._read(
            lambda: read_unsettled(
                self._connection, self._state.epochs, after, limit_records, limit_bytes
            )
        )

    def read_after(
        self, after: Position, limit_records: int, limit_bytes: int
    ) -> list[StoredRecord]:
        """Return the first records after a position, settled or not, of one epoch at a time.

        Those pruned or lost are passed over.
        """
        return self._read(
            lambda: read_kept(
                self._connection, tuple(self._state.epochs), after, limit_records, limit_bytes
            )
        )

    def read_at(self, position: Position) -> bytes:
        """Return a record's payload. Raises NotFoundError where it is not kept."""
        record = self._read(lambda: read_one(self._connection, tuple(self._state.epochs), position))
        if record is None:
            raise NotFoundError(f"journal record {position[1]} is not kept any more")
        return record.payload

    def position_before(self, at_ms: int) -> Position:
        """Return a position; all records written at an instant or later lie after it."""
        sequence = self._read(lambda: database.last_written_before(self._connection, at_ms))
        return position_of(tuple(self._state.epochs), sequence)

    # Failing

    def _read(self, read: Callable[[], Read]) -> Read:
        """Read; where what is read is damaged, set it aside first and read what is left."""
        try:
            return read()
        except database.CorruptError as error:
            self._state.fail(f"the journal is damaged: {error}", damage=str(error))
        except database.DATABASE_ERRORS as error:
            if not database.is_corrupt(error):
                self._fail("read", error)
            self._state.fail(f"the journal is damaged: {error}", damage=str(error))
        self.recover(self._state.written_at_ms)
        try:
            return read()
        except (*database.DATABASE_ERRORS, database.CorruptError) as error:
            self._fail("read", error)

    def _fail(self, action: str, error: Exception) -> NoReturn:
        damage = str(error) if database.is_corrupt(error) else ""
        self._state.fail(f"the journal cannot be {action}: {error}", damage)
        self._directory.problems.report(ProblemKind.WRITE_FAILED, self._state.failure)
        raise UnavailableError(self._state.failure) from error

    def _refuse(self) -> NoReturn:
        if self._state.failure:
            raise UnavailableError(
                f"{self._state.failure}; nothing is taken until its end is read again"
            )
        raise ResourceExhaustedError(
            f"the journal is full ({self._bytes_max} bytes) of usage that the control "
            "plane has not settled; connect it, or raise journal_bytes_max"
        )

    def _refuse_while_disk_is_slow(self) -> NoReturn:
        raise ResourceExhaustedError(
            f"the journal's disk is behind by {self._state.log_bytes} bytes; call later, or put "
            f"{self._directory.path} on a faster one"
        )


@contextmanager
def _translating(directory: DataDirectory) -> Iterator[None]:
    try:
        yield
    except (*database.DATABASE_ERRORS, database.CorruptError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnavailableError(
            f"data directory {directory.path}: the journal cannot be opened: {reason}"
        ) from error
