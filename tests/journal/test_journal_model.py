"""The journal against a naive model, through any sequence of what can happen to it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from journal_world import (
    DAY_MS,
    NOW_MS,
    all_kept,
    all_unsettled,
    append,
    digest_of,
    payload_for,
    require_sound,
)

from sidecar.journal import DataDirectory, Journal, JournalSettings

QUIET = JournalSettings(fsync_interval_ms=3_600_000, keep_answers_ms=0)
MINUTE_MS = 60_000


@dataclass
class ModelEpoch:
    """What was written, how much of it is settled, and since when."""

    sidecar_id: str
    epoch: str
    last: int = 0
    settled: int = 0
    settled_at_ms: dict[int, int] = field(default_factory=dict)
    # Records that were settled long enough at some pruning: kept or not.
    free: set[int] = field(default_factory=set)

    def settle(self, number: int, now_ms: int) -> None:
        number = min(number, self.last)
        is_lower = number < self.settled
        for n in range(1, self.last + 1):
            if n > number:
                self.settled_at_ms.pop(n, None)
            elif n not in self.settled_at_ms or is_lower:
                self.settled_at_ms[n] = now_ms
        self.settled = number

    def prune(self, now_ms: int) -> None:
        for n, at_ms in self.settled_at_ms.items():
            if at_ms < now_ms - DAY_MS:
                self.free.add(n)


class JournalMachine(RuleBasedStateMachine):
    """Steps the journal and the model together."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.now_ms = NOW_MS
        self.epochs: list[ModelEpoch] = []

    def _open(self) -> None:
        self.directory = DataDirectory(self.path, self.now_ms)
        self.journal = Journal.open(self.directory, QUIET, "boot", self.now_ms)
        previous = [e for e in self.epochs if e.sidecar_id == self.journal.sidecar_id]
        assert self.journal.predecessor == (previous[-1].epoch if previous else "")
        self._began()

    def _began(self) -> None:
        assert self.journal.next_number == 1
        self.epochs.append(ModelEpoch(self.journal.sidecar_id, self.journal.epoch))

    def _close(self, *, clean: bool) -> None:
        self.journal.close(clean=clean)
        self.directory.close()

    @initialize()
    def start(self) -> None:
        self._open()

    @rule(count=st.integers(1, 12), later_ms=st.integers(-10, 5000))
    def append(self, count: int, later_ms: int) -> None:
        self.now_ms += later_ms
        append(self.journal, count, self.now_ms)
        self.epochs[-1].last += count

    @rule(which=st.integers(0, 20), number=st.integers(0, 60))
    def settle(self, which: int, number: int) -> None:
        model = self.epochs[which % len(self.epochs)]
        self.journal.settle(model.sidecar_id, model.epoch, number, self.now_ms)
        # Once all of it is pruned an epoch is not kept, so nothing brings it back.
        if any(view.epoch == model.epoch for view in self.journal.epochs()):
            model.settle(number, self.now_ms)

    @rule(later_ms=st.sampled_from([0, MINUTE_MS, DAY_MS // 2, DAY_MS + 2 * MINUTE_MS]))
    def prune(self, later_ms: int) -> None:
        self.journal.flush()
        self.now_ms += later_ms
        for model in self.epochs:
            model.prune(self.now_ms)
        self.journal.prune(self.now_ms)
        self.journal.flush()

    @rule(clean=st.booleans())
    def restart(self, *, clean: bool) -> None:
        self._close(clean=clean)
        self._open()
        assert self.journal.previous_stopped_cleanly == clean

    @rule()
    def renew_identity(self) -> None:
        before = self.journal.sidecar_id
        self.journal.renew_identity(self.now_ms)
        assert self.journal.sidecar_id != before
        assert self.journal.predecessor == ""
        self._began()

    @rule()
    def fail_and_recover(self) -> None:
        self.journal._state.fail("the disk failed")
        self.journal.recover(self.now_ms)
        assert self.journal.next_number == self.epochs[-1].last + 1

    @invariant()
    def what_is_unsettled_is_there(self) -> None:
        expected = [
            (model.epoch, number)
            for model in self.epochs
            for number in range(model.settled + 1, model.last + 1)
        ]
        records = all_unsettled(self.journal, limit=7)
        assert [(record.epoch, record.number) for record in records] == expected
        free = {(model.epoch, number) for model in self.epochs for number in model.free}
        lost = {(record.epoch, record.number) for record in records if record.is_lost}
        assert lost <= free
        require_sound([record for record in records if not record.is_lost])
        assert self.journal.unsettled_records == len(expected)

    @invariant()
    def what_must_be_kept_is_kept(self) -> None:
        kept = {(record.epoch, record.number) for record in all_kept(self.journal)}
        for model in self.epochs:
            for number in set(range(1, model.last + 1)) - model.free:
                assert (model.epoch, number) in kept
        for record in all_kept(self.journal):
            position = (record.epoch_index, record.number)
            payload = self.journal.read_at(position)
            assert payload == payload_for(record.epoch, record.number)
            assert record.digest == digest_of(payload)

    @invariant()
    def counts_agree_with_lists(self) -> None:
        records = all_unsettled(self.journal)
        for place in {0, len(records) // 2, len(records) - 1} if records else ():
            last = records[place]
            counted = self.journal.count_unsettled((last.epoch_index, last.number))
            assert counted == place + 1

    def teardown(self) -> None:
        self._close(clean=True)
        shutil.rmtree(self.path)


JournalMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestJournalModel = JournalMachine.TestCase
