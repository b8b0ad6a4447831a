"""Random grants, draws, returns, limits, losses and repeats against a naive model of a pool."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from leased import TERMS, Leased, Sidecar, calls_of, entry, want

from control_plane.granting.work import Granted
from control_plane.leasing.holding import Returned
from control_plane.storage.database import Database
from control_plane.storage.lease_tables import lease

EXAMPLES = {"sqlite": 60, "postgresql": 8}
SIDECARS = st.integers(0, 2)
UNITS = st.integers(1, 30)
CUSTOMERS = count(1)


class PoolMachine(RuleBasedStateMachine):
    """Three sidecars share one limit. Messages and records are late, lost, doubled or reordered."""

    leased: Leased

    def __init__(self) -> None:
        super().__init__()
        self.customer = f"customer-{next(CUSTOMERS)}"
        self.leased.create(self.customer)
        self.limit = 100
        self.sidecars = [Sidecar(f"{self.customer}.{n}", self.customer) for n in range(3)]
        self.sent: dict[str, list[object]] = {s.name: [] for s in self.sidecars}
        self.returns: list[tuple[tuple[str, str], tuple[Returned, ...]]] = []
        # What sidecars admitted, whatever became of the records.
        self.spent = 0
        self.reported = 0

    @rule(which=SIDECARS, least=st.integers(0, 30), more=UNITS, is_lost=st.booleans())
    def ask(self, which: int, least: int, more: int, *, is_lost: bool) -> None:
        sidecar = self.sidecars[which]
        answer = self.leased.ask(sidecar, want(self.customer, least, least + more))
        taken = self.taken()
        if not isinstance(answer, Granted):
            assert self.limit - taken < least
            return
        if not is_lost:
            sidecar.learn(answer.leases)
        if self.leased.units_granted:
            assert taken <= self.limit
            assert all(each.limit == self.limit for each in answer.leases)
            # Whatever the control plane knows: what was and can be spent keeps the limit.
            assert self.spent + self.reported + self.spendable() <= self.limit

    @rule(which=SIDECARS, units=UNITS)
    def spend(self, which: int, units: int) -> None:
        sidecar = self.sidecars[which]
        for id_, held in sidecar.held.items():
            if held.rest:
                spent = min(units, held.rest)
                sidecar.spend(id_, spent, self.leased.now_ms)
                self.spent += spent
                return

    @rule(which=SIDECARS, units=UNITS)
    def report(self, which: int, units: int) -> None:
        """Usage that nobody asked for: it is not admitted, it was."""
        self.sidecars[which].record(entry(self.customer, units, self.leased.now_ms))

    @rule(which=SIDECARS, records=st.integers(1, 4), again=st.integers(0, 3))
    def send(self, which: int, records: int, again: int) -> None:
        sidecar = self.sidecars[which]
        fresh, sidecar.unsent = sidecar.unsent[:records], sidecar.unsent[records:]
        sent = self.sent[sidecar.name]
        settlement = self.leased.settle(*sent[-again or len(sent) :], *fresh)  # type: ignore[arg-type]
        assert settlement.records == len(fresh)
        assert settlement.draws_refused == 0
        sent += fresh
        self.reported += sum(e.amount for r in fresh if not r.draws for e in r.entries)

    @rule(which=SIDECARS, units=UNITS, is_late=st.booleans())
    def give_back(self, which: int, units: int, *, is_late: bool) -> None:
        sidecar = self.sidecars[which]
        for id_, held in sidecar.held.items():
            if held.rest:
                message = (sidecar.id, sidecar.give_back(id_, min(units, held.rest)))
                self.returns.append(message)
                if not is_late:
                    self.leased.post(returns=[message])
                return

    @rule(which=SIDECARS)
    def end(self, which: int) -> None:
        sidecar = self.sidecars[which]
        for id_ in list(sidecar.held):
            message = (sidecar.id, sidecar.end(id_))
            self.returns.append(message)
            self.leased.post(returns=[message])

    @precondition(lambda self: self.returns)
    @rule(data=st.data())
    def repeat_return(self, data: st.DataObject) -> None:
        """Deliver a message of a stream that is still open late, or once more."""
        message = data.draw(st.sampled_from(self.returns))
        if message[0] in [sidecar.id for sidecar in self.sidecars]:
            self.leased.post(returns=[message])

    @rule(limit=st.integers(0, 200))
    def change_limit(self, limit: int) -> None:
        self.leased.set_limit(self.customer, limit)
        self.limit = limit
        # Who holds leases of a higher limit returns them once it has the new one.
        self.leased.post()
        answer = self.leased.ask(self.sidecars[0], want(self.customer, 0, 1))
        assert isinstance(answer, Granted)
        self.sidecars[0].learn(answer.leases)

    @rule(which=SIDECARS)
    def reconnect(self, which: int) -> None:
        sidecar = self.sidecars[which]
        self.leased.post(claims=[sidecar.claim()])
        # Messages of the stream before are dropped.
        self.returns = [said for said in self.returns if said[0] != sidecar.id]

    @rule(which=SIDECARS, is_heard=st.booleans())
    def restart(self, which: int, *, is_heard: bool) -> None:
        sidecar = self.sidecars[which]
        sidecar.restart()
        if is_heard:
            self.leased.post(claims=[sidecar.claim()])

    @rule(which=SIDECARS, lost=st.integers(0, 3))
    def lose_power(self, which: int, lost: int) -> None:
        """Have the last records written be gone, and nobody know how many."""
        sidecar = self.sidecars[which]
        kept = len(sidecar.unsent) - min(lost, len(sidecar.unsent))
        for gone in reversed(sidecar.unsent[kept:]):
            sidecar.written[gone.sidecar_id, gone.epoch] = gone.number - 1
        sidecar.unsent = sidecar.unsent[:kept]
        sidecar.restart()
        self.leased.post(claims=[sidecar.claim(may_have_lost=True)])

    @rule(span_ms=st.sampled_from([1_000, TERMS.ttl_ms, TERMS.lost_after_ms + 1]))
    def wait(self, span_ms: int) -> None:
        self.leased.now_ms += span_ms
        self.leased.tick()

    @invariant()
    def is_conserved(self) -> None:
        sums = self.leased.check()
        assert not sums.differences, [str(each) for each in sums.differences]

    def taken(self) -> int:
        """Return what is not available, of the rows alone."""
        pool = self.leased.pool(calls_of(self.customer))
        leases = [row for row in self.leased.leases().values() if row.pool_id == pool.id]
        taken = pool.settled + sum(row.granted - row.returned - row.drawn for row in leases)
        assert pool.available == max(pool.limit_units - taken, 0)
        return int(taken)

    def spendable(self) -> int:
        return sum(held.rest for sidecar in self.sidecars for held in sidecar.held.values())


@pytest.fixture
def machine_world(engine: str, request: pytest.FixtureRequest) -> Iterator[Leased]:
    """Make one environment for all examples; each has a customer of its own."""
    url = "sqlite://" if engine == "sqlite" else request.getfixturevalue("database_url")
    database = Database(url)
    database.migrate()
    yield Leased(database)
    database.close()


def test_no_unit_is_made_or_lost(machine_world: Leased, engine: str) -> None:
    machine = type("Machine", (PoolMachine,), {"leased": machine_world})
    run_state_machine_as_test(
        machine,
        settings=settings(settings.default, max_examples=EXAMPLES[engine], stateful_step_count=30),
    )
    assert machine_world.rows(lease)
